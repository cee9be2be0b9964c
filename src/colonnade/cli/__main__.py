"""python -m colonnade.cli"""

from colonnade.cli.main import app

app(prog_name="colonnade")
