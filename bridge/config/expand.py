"""Turn what a user wrote into what the models expect: variables, secrets from elsewhere, paths, empty sections.

`${VAR}` and `${VAR:-default}` come from the environment, `!secret name` from `secrets.yaml` beside the file, and
`password_file: path` stands for any secret field. Relative paths begin where the file is. A section that is there but
empty counts as there. Nothing is validated here.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr

from bridge.errors import ConfigError, Problem
from bridge.files import read_file
from bridge.registry import unknown
from bridge.yamlcheck import models_in, types_below
from bridge.yamlfile import YamlFile, YamlPath, read_yaml

SECRETS = "secrets.yaml"
MAX_SECRET = 64 * 1024
"""Bytes of a file that holds one secret. A larger one is not what was meant."""

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")


class Environment:
    """The process's environment, as `${VAR}` in a text."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def fill(self, text: str) -> str:
        """Return the text with its variables filled in; `$${` stands for a plain `${`. Raises ValueError."""
        return _VARIABLE.sub(self._one, text)

    def _one(self, match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise ValueError("write ${NAME} or ${NAME:-default} for a variable, $${ for a plain ${")
        value = self._values.get(name)
        if value:
            return value
        if default is not None:
            return str(default)
        state = "is empty" if value == "" else "is not set"
        raise ValueError(f"the environment variable {name} {state}; set it or write ${{{name}:-default}}")


class Secrets:
    """`!secret name`: the file `secrets.yaml` beside the configuration, read when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SECRETS
        self._file: YamlFile | None = None
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def get(self, name: str) -> str:
        """Return a secret. Raises ValueError when there is none of that name."""
        if self._file is None:
            self._file = self._read()
        values = self._file.value
        if name not in values:
            raise ValueError(f"{unknown('secret', name, list(values))} (in {self._path})")
        value = values[name]
        if isinstance(value, (dict, list)) or value is None:
            raise ValueError(f"the secret {name!r} in {self._path} is not text")
        return str(value)

    def _read(self) -> YamlFile:
        if not self._path.exists():
            raise ValueError(f"there is no {self._path}; make it, mode 0600, with one `name: value` a line")
        try:
            found = read_yaml(self._path)
        except ConfigError as exc:
            self.problems.extend(exc.problems)
            return YamlFile(str(self._path), {})
        self.problems.extend(found.problems)
        if found.value is None or not isinstance(found.value, dict):
            found.value = {}
        mode = self._path.stat().st_mode
        if mode & stat.S_IROTH:
            self.warnings.append(
                Problem(str(self._path), 0, 0, "", f"everybody here can read it; run: chmod 600 {self._path}")
            )
        return found


class Expander:
    """Fills in one file's data, in place, and collects what does not work."""

    def __init__(self, yaml: YamlFile, folder: Path) -> None:
        self._yaml, self._folder = yaml, folder
        self.problems: list[Problem] = []

    def expand(self, annotation: Any, value: Any, path: YamlPath = ()) -> Any:
        """Return the value with everything below filled in, as a field of that type wants it."""
        if value is None and _is_section(annotation):
            return {}
        if isinstance(value, dict):
            for model in models_in(annotation):
                self._read_secret_files(model, value, path)
        if isinstance(value, (dict, list)):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                for below in types_below(annotation, key):
                    value[key] = self.expand(below, value[key], (*path, key))
        elif isinstance(value, str) and value and _may_be(annotation, Path):
            return str(self._folder / Path(value).expanduser())
        return value

    def _read_secret_files(self, model: type[BaseModel], value: dict[str, Any], path: YamlPath) -> None:
        for name, field in model.model_fields.items():
            key = field.alias or name
            file_key = f"{key}_file"
            if file_key not in value or file_key in model.model_fields or not _may_be(field.annotation, SecretStr):
                continue
            where = value.pop(file_key)
            self._yaml.moved((*path, file_key), (*path, key))
            if key in value:
                self._complain((*path, file_key), f"stands beside {key}; keep one of the two")
            elif isinstance(where, str) and where:
                value[key] = self._read_secret((*path, file_key), self._folder / Path(where).expanduser())
            else:
                self._complain((*path, file_key), "must be the path of a file")

    def _read_secret(self, path: YamlPath, file: Path) -> str:
        try:
            if file.stat().st_size > MAX_SECRET:
                raise ValueError(f"{file} is larger than {MAX_SECRET // 1024} KiB; that is no secret")
            text = read_file(file).decode("utf-8").rstrip("\r\n")
            if not text:
                raise ValueError(f"{file} is empty")
            return text
        except OSError as exc:
            self._complain(path, f"{file} cannot be read: {exc.strerror}")
        except UnicodeDecodeError:
            self._complain(path, f"{file} is not UTF-8 text")
        except ValueError as exc:
            self._complain(path, str(exc))
        return "unreadable"

    def _complain(self, path: YamlPath, message: str) -> None:
        self.problems.append(self._yaml.problem(path, message))


def _may_be(annotation: Any, wanted: type) -> bool:
    """Tell whether a field's value itself, not a member of it, may be of a type."""
    if annotation is wanted:
        return True
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, (Mapping, list, tuple)):
        return False
    return any(_may_be(argument, wanted) for argument in get_args(annotation))


def _is_section(annotation: Any) -> bool:
    return bool(models_in(annotation)) or get_origin(annotation) is dict
