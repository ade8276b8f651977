"""`python -m models.convert`: a foreign file's weights as a checkpoint of ours (models/weights/convert.py)."""
from models.weights.convert import main
from runtime.errors import run_script

if __name__ == "__main__":
    run_script(main)
