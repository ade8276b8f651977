"""What Jittor needs on a machine before it can be imported: a compiler, Python's headers, the right packages."""
import os
import shlex
import shutil
import sys
import sysconfig
from importlib import metadata

from runtime.cuda.patch import cache_folder
from runtime.errors import UserError
from runtime.files import replacing

INSTALL = "pip install -r requirements.txt"
GXX = "apt-get install g++"
HEADERS = f"apt-get install python3.{sys.version_info.minor}-dev"
CONFIG = f"python3.{sys.version_info.minor}-config"     # tells where Python.h is, and comes with it


def compiler(environ):
    """(name, path) of the C++ compiler Jittor will use; path is "" when it is missing."""
    name = environ.get("cc_path") or ("clang++" if sys.platform == "darwin" else "g++")
    return name, shutil.which(name) or ""


def jittor_finds_config(environ):
    """Where Jittor itself finds python3.x-config; "" when it does not."""
    folder = os.path.dirname(sys.executable)
    places = [environ.get("python_config_path", ""), os.path.join(folder, CONFIG), sys.executable + "-config",
              "/usr/bin/" + CONFIG, "/usr/local/bin/" + CONFIG, os.path.join(folder, "python3-config")]
    return next((place for place in places if os.path.isfile(place)), "")


def python_config(environ):
    """Where it is at all: a venv has none, but the Python it was made from (pyenv, uv) may, unknown to Jittor. Where there
    are only the headers, one that answers for them is made in the user's cache."""
    base = os.path.join(sys.base_prefix, "bin", CONFIG)
    return jittor_finds_config(environ) or (base if os.path.isfile(base) else made_config(environ))


def made_config(environ):
    """A python3.x-config that answers what Jittor asks; "" where there is no Python.h either."""
    include = sysconfig.get_path("include")
    if not os.path.isfile(os.path.join(include, "Python.h")):
        return ""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    folders = dict.fromkeys(sysconfig.get_path(name) for name in ("include", "platinclude"))
    text = ("#!/bin/sh\n"
            f'case "$1" in\n--includes) echo {shlex.quote(" ".join(f"-I{folder}" for folder in folders))} ;;\n'
            f'--extension-suffix) echo {shlex.quote(suffix)} ;;\n'
            '*) echo "$0: answers --includes and --extension-suffix, got $1" >&2; exit 1 ;;\nesac\n')
    folder = cache_folder(environ) / f"{sys.implementation.cache_tag}-{include.strip(os.sep).replace(os.sep, '-')}"
    script = folder / CONFIG
    if not script.is_file() or script.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(script) as temporary:
            temporary.write_text(text)
            temporary.chmod(0o755)
    return str(script)


def package(name):
    """(version, problem) of an installed package that Jittor cannot do without; version is "" when it is missing."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return "", f"{name} is not installed for {sys.executable}"
    if name == "numpy" and int(version.split(".")[0]) >= 2:
        return version, f"numpy is {version}, expected below 2, whose structures Jittor reads"
    return version, ""


def problems(environ):
    """[(what is missing, the command that brings it)]; empty when Jittor can be imported."""
    found = [(package(name)[1], INSTALL) for name in ("numpy", "jittor")]
    name, path = compiler(environ)
    found.append(("" if path else f"{name} was not found, Jittor compiles its operators with it", GXX))
    headers = python_config(environ) or sys.platform == "darwin"
    found.append(("" if headers else f"{CONFIG} was not found, Jittor compiles against Python's headers", HEADERS))
    return [(problem, mend) for problem, mend in found if problem]


def cache_problem(environ):
    """A line when Jittor cannot keep what it compiles, as in a container without a home; "" when it can.

    It always looks into ~/.cache/jittor, also where JITTOR_HOME names another folder for the compiled operators.
    """
    for home in dict.fromkeys([os.path.expanduser("~"), environ.get("JITTOR_HOME") or os.path.expanduser("~")]):
        folder = os.path.join(home, ".cache", "jittor")
        try:
            os.makedirs(folder, exist_ok=True)
            reason = "" if os.access(folder, os.W_OK | os.X_OK) else "no permission to write"
        except OSError as error:
            reason = error.strerror or str(error)
        if reason:
            name = "HOME" if home == os.path.expanduser("~") else "JITTOR_HOME"
            return (f"{folder}: {reason}; Jittor keeps there what it compiles, expected a folder that can be written to: "
                    f"{name}=/some/folder in front of the command names another")
    return ""


def check_tools(environ):
    """Raises UserError with one line, and its mending command, for each thing that is missing."""
    if cache_problem(environ):
        raise UserError(cache_problem(environ))
    found = problems(environ)
    if found:
        raise UserError([f"{problem}: {mend}" for problem, mend in found])
