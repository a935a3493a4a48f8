"""The HTTP API: what ``simgit serve`` answers, over one open repository.

- ``application``: makes the FastAPI application.
- ``gate``: tokens, host names, origins, content types and sizes of requests.
- ``problems``: errors as RFC 9457 problems.
- ``service``: the parts that routes share: handles of the repository, access, the watch.
- ``answers``: JSON, conditional requests, pages.
- ``routes``: a module a subject; each route is a few lines over one call of the repository.
- ``routes_of``: names the route of every call of ``Repository`` and of every command.
- ``docs``: the page docs/http-api.md, generated from the application.
- ``restorers``: processes that restore and render states; ``films``: what they have filmed.
- ``run_rows``: the list of runs, kept as it is sent; ``turns``: of requests that take long.
- ``watch``: tells viewers what any process writes; ``levels``: what it tells; ``standing``: how
  simulations stand.
- ``jobs``: work that takes long, in processes; ``sessions``: of browsers; ``shortened``: answers
  without the places of files.
- ``serving``: the process: the socket, the tokens, the end.

This is the one place that imports FastAPI, Starlette and uvicorn.
"""
