"""What is installed is what was tested: the wheel holds the package and nothing else, and works without the source tree."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import trioproxy

ROOT = Path(trioproxy.__file__).parent.parent
IMPORT_ALL = """
import pkgutil, importlib, trioproxy
names = [found.name for found in pkgutil.walk_packages(trioproxy.__path__, "trioproxy.") if not found.name.endswith("__main__")]
for name in names:
    if not name.startswith("trioproxy.testing"):  # may need what only tests install
        importlib.import_module(name)
print(trioproxy.__file__)
"""


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "pyproject.toml").exists():
        pytest.fail("these tests run from the source tree")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", out, cwd=ROOT)
    return out


def test_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"trioproxy-{trioproxy.__version__}.dist-info/"
    assert [name for name in names if not name.startswith(("trioproxy/", info))] == []
    assert [name for name in names if name.endswith((".pth", ".pyc", ".so")) or "test_" in name] == []
    assert {"trioproxy/__init__.py", "trioproxy/py.typed", f"{info}entry_points.txt"} <= set(names)
    assert {f"{info}licenses/LICENSE", f"{info}licenses/LICENSE.MIT", f"{info}licenses/LICENSE.APACHE2"} <= set(names)
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "trioproxy").rglob("*.py")}
    assert sources <= set(names)


def test_sdist_holds_what_it_takes_to_build_and_test(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "LICENSE.MIT", "LICENSE.APACHE2", "run", "requirements/ci.txt", "tests/test_wheel.py"} <= names
    assert {name.partition("/")[0] for name in names} & {".git", ".venv", ".hypothesis", "dist"} == set()


def test_wheel_works_away_from_the_source_tree(built: Path, tmp_path: Path) -> None:
    """A path on PYTHONPATH is searched, but its .pth files are not read: the dependencies are found there, an editable install of ours is not."""
    (wheel,) = built.glob("*.whl")
    home, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=empty)
    paths = os.pathsep.join(dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))))
    where = run(python, "-W", "error", "-c", IMPORT_ALL, cwd=empty, PYTHONPATH=paths)
    assert Path(where.strip()).is_relative_to(home)
    assert trioproxy.__version__ in run(home / "bin" / "trioproxy", "--version", cwd=empty, PYTHONPATH=paths)
