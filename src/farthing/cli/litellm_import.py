"""Turns a LiteLLM proxy config into farthing.toml, and says by line what could not be carried over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

import msgspec

from farthing.cli.litellm_notes import (
    ALWAYS,
    BARE_NAMES,
    CALLBACKS,
    CARRIED,
    DEFAULT_KEYS,
    INSTEAD,
    NUMBERS,
    PRICES,
    STRATEGIES,
    VENDORS,
    WINDOWS,
)
from farthing.cli.litellm_source import is_positive, line_of, line_of_item, parse
from farthing.cli.toml_text import toml_text

_ENVIRONMENT = "os.environ/"
_LOCAL = frozenset({"ollama", "lmstudio", "vllm", "llamacpp", "docker"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_HEAD = "# Made from a LiteLLM proxy config. Check it: farthing config check\n\n"
#: LiteLLM's weights may be fractions; ours are whole.
_WEIGHT_SCALE = 100

Table = dict[str, Any]


class Note(msgspec.Struct, frozen=True):
    """Something to know about one line of the source. line counts from 1; 0 is the file as a whole."""

    line: int
    message: str


class Conversion(msgspec.Struct, frozen=True):
    """The text of farthing.toml, and the notes in the order of the source's lines."""

    toml: str
    notes: list[Note]


def convert(text: str, *, path: str = "litellm.yaml") -> Conversion:
    """Read a LiteLLM proxy config. Pure: no file, no environment, and no secret is copied.

    Raises ConfigError for text that is not YAML or has no model_list.
    """
    return _Converter(parse(text, path)).run()


class _Converter:
    """Builds the tables of one conversion."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._notes: list[Note] = []
        self._providers: dict[str, Table] = {}
        self._deployments: dict[str, Table] = {}
        self._routes: dict[str, Table] = {}
        self._sections: dict[str, Table] = {}
        self._fallbacks: list[tuple[str, list[str], int]] = []
        self._default_fallbacks: list[str] = []
        self._names = {
            str(entry.get("model_name"))
            for entry in document["model_list"]
            if isinstance(entry, Mapping)
        }

    def run(self) -> Conversion:
        for index, entry in enumerate(self._document["model_list"]):
            self._entry(entry, line_of_item(self._document["model_list"], index))
        for name in ("router_settings", "litellm_settings", "general_settings"):
            section = self._document.get(name)
            if isinstance(section, Mapping):
                for key in section:
                    self._setting(section, name, str(key))
        for key in self._document:
            if key not in ("model_list", "router_settings", "litellm_settings", "general_settings"):
                self._left_behind(str(key), str(key), line_of(self._document, key))
        self._whole_weights()
        self._apply_fallbacks()
        notes = sorted(self._notes, key=lambda note: note.line)
        return Conversion(self._toml(), notes)

    # --- model_list -------------------------------------------------------------------------------

    def _entry(self, entry: Any, line: int) -> None:
        params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
        if not isinstance(params, Mapping) or not entry.get("model_name"):
            self._note(line, "entry without model_name or litellm_params: left out.")
            return
        info = entry.get("model_info")
        info = info if isinstance(info, Mapping) else {}
        written = str(params.get("model", ""))
        vendor, remote = self._vendor(written, params)
        at = line_of(params, "model")
        if vendor is None:
            self._note(at, f"'{written}': this vendor is not supported; the entry was left out.")
            return
        provider = self._provider(vendor, params)
        if "*" in remote or "*" in str(entry["model_name"]):
            self._note(at, f"wildcard: callers ask for '{provider}/MODEL' instead of '{written}'.")
            self._providers[provider].pop("models", None)
            return
        deployment: Table = {"provider": provider, "model": remote}
        if vendor == "azure":
            base = info.get("base_model") or params.get("base_model")
            deployment["model"] = str(base).rpartition("/")[2] if base else remote
            deployment["remote_name"] = remote
            if not base:
                said = f"is '{remote}' also the model's name? Set model in its deployment for a right price."
                self._note(at, said)
        self._carry(deployment, params, "litellm_params")
        self._carry(deployment, info, "model_info")
        name = self._unique(f"{provider}-{remote}", self._deployments)
        self._deployments[name] = deployment
        route = self._routes.setdefault(str(entry["model_name"]), {"deployments": []})
        route["deployments"].append(name)

    def _vendor(self, written: str, params: Any) -> tuple[str | None, str]:
        prefix, slash, rest = written.partition("/")
        declared = str(params.get("custom_llm_provider") or "")
        if declared in VENDORS:
            return VENDORS[declared], rest if slash and prefix == declared else written
        if slash and prefix in VENDORS:
            # azure/chat/x and ollama's tags keep everything after the first slash.
            return VENDORS[prefix], rest
        for start, vendor in BARE_NAMES:
            if not slash and written.startswith(start):
                return vendor, written
        if not slash and written and params.get("api_base"):
            return "openai", written
        return None, written

    def _provider(self, vendor: str, params: Any) -> str:
        base = params.get("api_base") or params.get("base_url")
        if vendor == "openai" and base and urlsplit(str(base)).hostname != "api.openai.com":
            vendor = "openai-compatible"
        table: Table = {"type": vendor}
        if base is not None:
            table["base_url"] = self._address(params, str(base))
        for theirs, ours in (
            ("api_version", "api_version"),
            ("organization", "organization"),
            ("region_name", "region"),
        ):
            if params.get(theirs):
                table[ours] = str(params[theirs])
        if vendor != "azure":
            table.pop("api_version", None)
        reference = str(params.get("api_key") or "")
        is_literal = bool(reference) and not reference.startswith(_ENVIRONMENT)
        if reference.startswith(_ENVIRONMENT):
            table["key"] = f"env:{reference.removeprefix(_ENVIRONMENT)}"
        elif not reference and vendor in DEFAULT_KEYS:
            table["key"] = f"env:{DEFAULT_KEYS[vendor]}"
        headers = params.get("extra_headers")
        if isinstance(headers, Mapping):
            at = line_of(params, "extra_headers")
            self._note(
                at, "extra_headers: may hold secrets, write them under the provider's headers."
            )
        table["models"] = []
        if not is_literal or vendor in _LOCAL:
            for name, known in self._providers.items():
                if {**known, "models": []} == table:
                    return name
        host = urlsplit(table.get("base_url", "")).hostname or ""
        label = f"{vendor}-{host.partition('.')[0]}" if vendor == "azure" and host else vendor
        name = self._unique(label, self._providers)
        if is_literal and vendor not in _LOCAL:
            variable = (
                f"{_UNSAFE.sub('_', name).replace('-', '_').replace('.', '_').upper()}_API_KEY"
            )
            table["key"] = f"env:{variable}"
            at = line_of(params, "api_key")
            self._note(at, f"the key was written out and was not copied: put it into {variable}.")
        self._providers[name] = table
        return name

    def _address(self, params: Any, base: str) -> str:
        if not base.startswith(_ENVIRONMENT):
            return base
        variable = base.removeprefix(_ENVIRONMENT)
        said = f"the address comes from {variable}: write it as base_url of this provider."
        self._note(line_of(params, "api_base"), said)
        return f"https://{variable.lower().replace('_', '-')}.invalid"

    def _carry(self, deployment: Table, source: Any, section: str) -> None:
        """Move what has an equivalent from `source`; note the rest."""
        price: Table = dict(deployment.pop("price", {}))
        for key, value in source.items():
            if key in CARRIED:
                continue
            if key in PRICES:
                self._price(price, str(key), value, line_of(source, key))
            elif key in NUMBERS and is_positive(value):
                deployment[NUMBERS[key]] = value
            elif key == "weight" and isinstance(value, int | float) and value >= 0:
                deployment["weight"] = value
            elif key == "order" and isinstance(value, int) and value >= 0:
                deployment["priority"] = value
            elif key == "mode" and value in ("chat", "completion", "embedding"):
                deployment["kind"] = "embed" if value == "embedding" else "chat"
            else:
                self._left_behind(f"{section}.{key}", str(key), line_of(source, key))
        if price:
            if "input" not in price:
                price["input"] = "0"
            deployment["price"] = {**price, "source": "LiteLLM config"}

    def _price(self, price: Table, key: str, value: Any, line: int) -> None:
        try:
            per_million = Decimal(str(float(value) if isinstance(value, float) else value)) * 10**6
            exact = per_million.quantize(Decimal("0.000001"))
        except InvalidOperation:
            self._note(line, f"{key} is not a number: left out.")
            return
        if exact < 0:
            self._note(line, f"{key} is negative: left out.")
            return
        if exact != per_million:
            self._note(line, f"{key}: rounded to ${exact} per million tokens.")
        price[PRICES[key]] = format(exact, "f").rstrip("0").rstrip(".") or "0"

    # --- The other sections -----------------------------------------------------------------------

    def _setting(self, section: Any, where: str, key: str) -> None:
        value, line = section[key], line_of(section, key)
        if self._number(key, value) or self._names_of_models(key, value, line):
            return
        if key == "routing_strategy":
            self._strategy(str(value), line)
        elif key in ("cache", "cache_params"):
            self._cache(key, value, line)
        elif key in ("callbacks", "success_callback", "failure_callback"):
            self._callbacks(value, line)
        elif key == "max_budget":
            self._budget(section, value, line)
        elif key == "json_logs":
            self._put("telemetry", "access_log", bool(value))
        elif key != "budget_duration" or "max_budget" not in section:
            self._left_behind(f"{where}.{key}", key, line)

    def _number(self, key: str, value: Any) -> bool:
        """Carry over a plain number; False when the key is another one."""
        if key == "num_retries" and isinstance(value, int) and value >= 0:
            self._put("retry", "max_tries", value + 1)
        elif key in ("timeout", "request_timeout") and is_positive(value):
            self._put("timeouts", "total_s", value)
        elif key == "allowed_fails" and isinstance(value, int) and value >= 0:
            self._put("breaker", "failures", value + 1)
        elif key == "cooldown_time" and is_positive(value):
            self._put("breaker", "open_s", value)
            if value > 120:
                self._put("breaker", "max_open_s", value)
        else:
            return False
        return True

    def _names_of_models(self, key: str, value: Any, line: int) -> bool:
        """Carry over fallbacks and aliases; False when the key is another one."""
        if key == "fallbacks" and isinstance(value, list):
            for entry in value:
                if isinstance(entry, Mapping):
                    for source, targets in entry.items():
                        self._fallbacks.append((str(source), [str(t) for t in targets], line))
        elif key == "default_fallbacks" and isinstance(value, list):
            self._default_fallbacks += [str(target) for target in value]
        elif key == "model_group_alias" and isinstance(value, Mapping):
            for alias, target in value.items():
                named = target.get("model") if isinstance(target, Mapping) else target
                self._put("aliases", str(alias), str(named))
        else:
            return False
        return True

    def _strategy(self, value: str, line: int) -> None:
        strategy = STRATEGIES.get(value)
        if strategy is None:
            said = "has no equivalent; routes use weights and ranks (weight, priority)."
            self._note(line, f"routing_strategy '{value}' {said}")
        elif strategy != "weighted":
            for route in self._routes.values():
                route["strategy"] = strategy

    def _cache(self, key: str, value: Any, line: int) -> None:
        if key == "cache" and value is True:
            for route in self._routes.values():
                route["cache"] = True
        elif isinstance(value, Mapping):
            if is_positive(value.get("ttl")):
                self._put("cache", "ttl_s", value["ttl"])
            kind = value.get("type", "local")
            if kind != "local":
                said = "the cache is exact and in memory of the process."
                self._note(line, f"cache type '{kind}' has no equivalent; {said}")

    def _callbacks(self, value: Any, line: int) -> None:
        for name in value if isinstance(value, list) else [value]:
            said = CALLBACKS.get(str(name), "not carried over; export by telemetry.otlp_endpoint.")
            self._note(line, f"callback '{name}': {said}")

    def _budget(self, section: Any, value: Any, line: int) -> None:
        duration = str(section.get("budget_duration", ""))
        window = WINDOWS.get(duration, "total" if not duration else "month")
        if duration and duration not in WINDOWS:
            self._note(line, f"budget_duration '{duration}' became window = \"month\"; check it.")
        if is_positive(value):
            dollars = format(Decimal(str(float(value))), "f").removesuffix(".0")
            self._put("budgets", "imported", {"dollars": dollars, "window": window})
        else:
            self._note(line, "max_budget is not a positive number: left out.")

    def _apply_fallbacks(self) -> None:
        for source, targets, line in self._fallbacks:
            route = self._routes.get(source)
            if route is None:
                self._note(line, f"fallbacks of '{source}': no such model in model_list; left out.")
            else:
                route.setdefault("fallbacks", []).extend(targets)
        for name, route in self._routes.items():
            wanted = [*route.get("fallbacks", []), *self._default_fallbacks]
            kept = [t for t in dict.fromkeys(wanted) if t in self._routes and t != name]
            for target in wanted:
                if target not in self._routes:
                    said = f"fallback '{target}' of '{name}' is not in model_list; left out."
                    self._note(0, said)
            if kept:
                route["fallbacks"] = kept
            else:
                route.pop("fallbacks", None)
        aliases = self._sections.get("aliases", {})
        for alias, target in list(aliases.items()):
            if target not in self._routes or alias in self._routes:
                self._note(0, f"alias '{alias}' → '{target}' names no imported model; left out.")
                del aliases[alias]

    def _whole_weights(self) -> None:
        weights = [d["weight"] for d in self._deployments.values() if "weight" in d]
        if all(float(weight).is_integer() for weight in weights):
            scale = 1
        else:
            scale = _WEIGHT_SCALE
            self._note(0, f"weights are whole numbers here: all were multiplied by {scale}.")
        for deployment in self._deployments.values():
            if "weight" in deployment or scale != 1:
                deployment["weight"] = round(deployment.get("weight", 1) * scale)

    def _left_behind(self, full: str, key: str, line: int) -> None:
        said = ALWAYS.get(full) or INSTEAD.get(full)
        self._note(line, f"{key}: {said}" if said else f"{key}: not carried over; no equivalent.")

    def _note(self, line: int, message: str) -> None:
        note = Note(line, message)
        if note not in self._notes:
            self._notes.append(note)

    def _put(self, section: str, key: str, value: Any) -> None:
        self._sections.setdefault(section, {})[key] = value

    def _unique(self, wanted: str, taken: Mapping[str, Table]) -> str:
        base = _UNSAFE.sub("-", wanted).strip("-")
        name, number = base, 1
        while name in taken or name in self._names:
            number += 1
            name = f"{base}-{number}"
        return name

    def _toml(self) -> str:
        tables: list[tuple[tuple[str, ...], Table]] = []
        tables += [(("providers", name), table) for name, table in self._providers.items()]
        tables += [(("deployments", name), table) for name, table in self._deployments.items()]
        tables += [(("routes", name), table) for name, table in self._routes.items()]
        for section, table in self._sections.items():
            if section == "budgets":
                tables += [((section, name), inner) for name, inner in table.items()]
            else:
                tables.append(((section,), table))
        return _HEAD + toml_text(tables)
