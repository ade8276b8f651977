"""`python -m runtime.build_check`: whether everything compiles for CUDA on this machine (runtime/cuda/build_check.py)."""
from runtime.cuda.build_check import main
from runtime.errors import run_script

if __name__ == "__main__":
    run_script(main)
