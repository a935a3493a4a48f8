"""Files of other formats, out and in: a module a format, all behind ``base``."""
