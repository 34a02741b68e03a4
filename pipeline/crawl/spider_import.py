"""Import the class of a spider: a built-in spider, or a user's class in a module beside settings.toml."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from scrapy import Spider

from pipeline.errors import SpiderError
from pipeline.registry import BUILT_IN_SPIDERS
from pipeline.settings import nearest


def spider_class(name: str, folder: Path) -> type[Spider]:
    """Import and return a spider's class. name: the name of a built-in spider, "module:Class" or "file.py:Class".

    folder: the folder of settings.toml, in which modules are looked up first. Raise SpiderError with the reason when the class
    cannot be imported; the reason names the file and the line.
    """
    module_name, _, class_name = (BUILT_IN_SPIDERS[name].spider_class if name in BUILT_IN_SPIDERS else name).partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = _of_file(module_name, folder) if module_name.endswith(".py") else _imported(module_name, name, folder)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Spider)):
        own = [each for each, value in vars(module).items()
               if isinstance(value, type) and issubclass(value, Spider) and value.__module__ == module.__name__]
        what = f"has no spider class {class_name}" if found is None else f"has {class_name}, but it is not a subclass of scrapy.Spider"
        raise SpiderError(f"{module_name} {what}{nearest(class_name, own)}", where=name,
                          fix="set `spider` to the name of a subclass of scrapy.Spider"
                          + (f"; this module has: {', '.join(own)}" if own else ""))
    return found


def described(error: BaseException, spidercls: type[Spider]) -> str:
    """Return an error that a user's spider has raised as text, with the line of the user's code that was executed last.

    For example "spiders/shop.py, line 12: KeyError: 'price'".
    """
    module = spidercls.__module__
    built_in = module in (each.spider_class.partition(":")[0] for each in BUILT_IN_SPIDERS.values())
    file = None if built_in else getattr(sys.modules.get(module), "__file__", None)
    folder = Path(file).parents[module.count(".")] if file is not None else None
    return f"{_place(error, folder) if folder is not None else ''}{type(error).__name__}: {error}".rstrip(": ")


def _imported(module_name: str, name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise SpiderError(f"there is no module {error.name}", where=name,
                              fix=f"put the module beside settings.toml, in {folder}") from error
        raise import_error(error, name, folder) from error
    except (Exception, SystemExit) as error:
        raise import_error(error, name, folder) from error


def import_error(error: BaseException, name: str, folder: Path, *, is_project: bool = False) -> SpiderError:
    """Return the error of an import as a SpiderError that names the file and the line.

    name: what settings.toml names. folder: the folder of the user's code. is_project: whether the import is that of a Scrapy project.
    """
    fix, place = "", _place(error, folder)
    match error:
        case ModuleNotFoundError() if error.name is not None:
            why = f"{place}it imports {error.name}, which is not installed"
            fix = f"install the package that contains {error.name}, or correct the import"
        case SyntaxError():
            why, fix = f"{type(error).__name__}{_place(error, folder, error)}{error.msg}", "correct this line"
        case SystemExit():
            why = f"{place}it ends the process (SystemExit) instead of defining a class"
            fix = "call such code only under `if __name__ == \"__main__\":`"
        case _:
            why = f"{place}{type(error).__name__}: {error}".rstrip(": ")
    return SpiderError(f"the Scrapy project could not be imported: {why}" if is_project else f"the module could not be imported: {why}",
                       where=name, fix=fix)


def _of_file(name: str, folder: Path) -> ModuleType:
    """Import the module in a Python file. The module gets the name with which an import statement would find the file, if there is one.

    The names of some modules are not valid in import statements, such as toscrape-css.py. name: the path of the file, relative to folder.
    """
    file = (folder / Path(name).expanduser()).resolve()
    if not file.is_file():
        raise SpiderError("the file does not exist", where=str(file), fix="correct `spider`")
    parts = file.relative_to(folder.resolve()).with_suffix("").parts if file.is_relative_to(folder.resolve()) else (file.stem,)
    module_name = ".".join(parts)
    if len(parts) > 1 and not any("." in part for part in parts):
        module = _imported(module_name, name, folder)
        if module.__file__ is not None and Path(module.__file__).resolve() == file:
            return module
    spec = importlib.util.spec_from_file_location(module_name.replace(".", "_"), file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise import_error(error, name, folder) from error
    return module


def _place(error: BaseException, folder: Path, syntax: SyntaxError | None = None) -> str:
    """Return the file and line of an error as text: the last line of the user's own files that was executed, "" if there is none.

    syntax: the error, if it is a SyntaxError, which names the invalid line itself.
    """
    if syntax is not None:
        return f" in {_shown(syntax.filename or '?', folder)}, line {syntax.lineno}: "
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_inside(frame.filename, folder)]
    return f"{_shown(own[-1].filename, folder)}, line {own[-1].lineno}: " if own else ""


def _is_inside(file: str, folder: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(folder) and "site-packages" not in path.parts


def _shown(file: str, folder: Path) -> str:
    return str(Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else file
