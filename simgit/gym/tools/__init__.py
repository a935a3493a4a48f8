"""What is done with recorded environments: doctor, films, playing, what-if, collecting."""
