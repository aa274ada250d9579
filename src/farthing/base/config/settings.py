"""The settings and their defaults. Each field's description is its line in the reference."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

#: Settings that may hold a secret written out; never shown, whoever prints them.
SECRETS = frozenset({"key", "headers", "otlp_headers", "webhook_secret", "webhook_url", "url"})

_AtLeastOne = Annotated[int, Meta(ge=1)]
_Positive = Annotated[float, Meta(gt=0)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table. Its repr leaves out what may be a secret."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name in SECRETS and value else repr(value)}"
            for name, value in ((name, getattr(self, name)) for name in self.__struct_fields__)
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [(name, "***" if name in SECRETS and value else value) for name, value in values]


class Server(_Section, frozen=True, kw_only=True):
    """The listening side."""

    host: Annotated[
        str, Meta(description="Address to listen on. Anything but loopback needs a key.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(description="TCP port; 0 picks a free one.", ge=0, le=65535)] = 4000
    tls_cert: Annotated[str | None, Meta(description="PEM file with the certificate chain.")] = None
    tls_key: Annotated[str | None, Meta(description="PEM file with the private key.")] = None
    max_body_mb: Annotated[int, Meta(description="Largest request body, megabytes.", ge=1)] = 20
    max_concurrent_calls: Annotated[
        int, Meta(description="Calls in flight before new ones get 503.", ge=1)
    ] = 2000
    max_connections_per_address: Annotated[
        int, Meta(description="Open connections of one client address before more get 503.", ge=1)
    ] = 20_000
    grace_s: Annotated[
        float, Meta(description="Seconds that streams may finish in after SIGTERM.", ge=0)
    ] = 30.0
    workers: Annotated[
        int,
        Meta(
            description="Processes that serve; budgets and rates are exact over all.", ge=1, le=512
        ),
    ] = 1
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Origins that browsers may call from.")
    ] = ()
    require_keys: Annotated[
        bool | None,
        Meta(
            description="Whether callers need a key. Unset: only when not on loopback, or once a key exists."
        ),
    ] = None
    detect: Annotated[
        bool,
        Meta(
            description="Look for provider keys in the environment and model servers on loopback."
        ),
    ] = True


class Storage(_Section, frozen=True, kw_only=True):
    """Where money, keys and runs are kept."""

    url: Annotated[str, Meta(description="`sqlite:PATH` or `postgresql://…`.")] = (
        "sqlite:.farthing/farthing.db"
    )
    busy_timeout_s: Annotated[
        float, Meta(description="How long to wait for a locked database.", gt=0)
    ] = 5.0


class Ledger(_Section, frozen=True, kw_only=True):
    """How strictly money is kept."""

    durability: Annotated[
        Literal["process", "power"],
        Meta(
            description="`process`: survives kill -9. `power`: also fsync at each commit, survives power loss."
        ),
    ] = "process"
    unknown_price: Annotated[
        Literal["refuse", "zero_and_warn"],
        Meta(description="A call whose price is not known: refuse it, or book zero, marked."),
    ] = "refuse"
    unconfirmed_hold_s: Annotated[
        float,
        Meta(
            description=(
                "A call that ended without the vendor's usage is charged by estimate; "
                "the rest of its reservation stays held this long."
            ),
            ge=0,
        ),
    ] = 900.0
    on_failure: Annotated[
        Literal["refuse", "serve_unrecorded"],
        Meta(
            description="The ledger cannot be written: refuse calls (503), or serve them and say so in metrics and log."
        ),
    ] = "refuse"


class Provider(_Section, frozen=True, kw_only=True):
    """One connection to a vendor. The name of the table is the provider's name."""

    type: Annotated[
        str,
        Meta(
            description="Vendor protocol or vendor row: `openai`, `azure`, `anthropic`, `google`, `mistral`, …"
        ),
    ]
    key: Annotated[
        str | None, Meta(description="`env:NAME`, `file:PATH`, or the key itself (not advised).")
    ] = None
    base_url: Annotated[str | None, Meta(description="Another address than the vendor's own.")] = (
        None
    )
    api_version: Annotated[
        str | None, Meta(description="Azure classic only, e.g. `2024-10-21`.")
    ] = None
    auth: Annotated[
        Literal["key", "entra"], Meta(description="Azure: API key, or a Microsoft Entra token.")
    ] = "key"
    region: Annotated[
        str | None, Meta(description="Region, for regional prices and for reading.")
    ] = None
    headers: Annotated[
        dict[str, str], Meta(description="Extra request headers; values may be `env:NAME`.")
    ] = {}
    models: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Models to offer without a deployment table. Unset: those of the catalogue; empty: none."
        ),
    ] = None
    organization: Annotated[str | None, Meta(description="OpenAI organization.")] = None
    project: Annotated[str | None, Meta(description="OpenAI project.")] = None
    directory: Annotated[str | None, Meta(description="`replay` only: folder with recordings.")] = (
        None
    )
    scenario: Annotated[
        str | None, Meta(description="`sim` only: scenario file, or empty for the built-in one.")
    ] = None
    max_connections: Annotated[int, Meta(description="Upper bound of open connections.", ge=1)] = (
        256
    )


class PriceSetting(_Section, frozen=True, kw_only=True):
    """A price of your own, in dollars per million tokens (strings or numbers, exact to $0.000001)."""

    input: Annotated[str | float | int, Meta(description="Plain input.")]
    output: Annotated[str | float | int, Meta(description="Plain output.")] = 0
    cached_input: Annotated[str | float | int | None, Meta(description="Cache reads.")] = None
    cache_write: Annotated[
        str | float | int | None, Meta(description="Cache writes (five minutes).")
    ] = None
    cache_write_1h: Annotated[
        str | float | int | None, Meta(description="Cache writes (one hour).")
    ] = None
    reasoning: Annotated[str | float | int | None, Meta(description="Reasoning output.")] = None
    input_audio: Annotated[str | float | int | None, Meta(description="Audio input.")] = None
    output_audio: Annotated[str | float | int | None, Meta(description="Audio output.")] = None
    source: Annotated[str, Meta(description="Where the figure is from (contract, page).")] = (
        "farthing.toml"
    )
    date: Annotated[str, Meta(description="ISO date of the figure.")] = ""


class Deployment(_Section, frozen=True, kw_only=True):
    """One place where one model can be bought. The name of the table is the deployment's name."""

    provider: Annotated[str, Meta(description="Name of a provider table.")]
    model: Annotated[
        str, Meta(description="Name of the model in the catalogue (or any name, with a price).")
    ]
    remote_name: Annotated[
        str | None, Meta(description="What the vendor calls it; unset: the model's name.")
    ] = None
    kind: Annotated[
        Literal["chat", "embed"] | None, Meta(description="Unset: as the catalogue says.")
    ] = None
    region: Annotated[str | None, Meta(description="Region; unset: the provider's.")] = None
    scope: Annotated[
        Literal["global", "data_zone", "regional"] | None,
        Meta(
            description="Azure: where its data may be processed, which sets the price. Unset: global."
        ),
    ] = None
    price: Annotated[PriceSetting | None, Meta(description="A negotiated price.")] = None
    is_provisioned: Annotated[
        bool, Meta(description="Provisioned throughput: tokens are free, the hour is paid.")
    ] = False
    provisioned_hourly_dollars: Annotated[
        str | float | int, Meta(description="Fee per hour of the provisioned units together.")
    ] = 0
    tokens_per_minute: Annotated[
        _AtLeastOne | None, Meta(description="Quota, tokens per minute.")
    ] = None
    requests_per_minute: Annotated[
        _AtLeastOne | None, Meta(description="Quota, requests per minute.")
    ] = None
    context_tokens: Annotated[
        _AtLeastOne | None, Meta(description="Context size, when the catalogue does not know it.")
    ] = None
    max_output_tokens: Annotated[
        _AtLeastOne | None, Meta(description="Longest answer, when the catalogue does not know it.")
    ] = None
    weight: Annotated[int, Meta(description="Share among deployments of one rank.", ge=0)] = 1
    priority: Annotated[int, Meta(description="Rank: 0 is tried first.", ge=0)] = 0
    first_byte_s: Annotated[
        _Positive | None, Meta(description="Overrides timeouts.first_byte_s.")
    ] = None
    dialects: Annotated[
        tuple[str, ...],
        Meta(
            description='Less than the provider speaks, e.g. `["openai-responses"]` for a model without chat.'
        ),
    ] = ()


class Route(_Section, frozen=True, kw_only=True):
    """A model name that callers may use, served by several deployments. The table's name is that name."""

    deployments: Annotated[
        tuple[str, ...],
        Meta(description="Deployments by name; rank and weight are theirs.", min_length=1),
    ]
    fallbacks: Annotated[
        tuple[str, ...],
        Meta(description="Routes or models to go on with when all of these failed."),
    ] = ()
    strategy: Annotated[
        Literal["weighted", "ordered", "least_busy"], Meta(description="Order within one rank.")
    ] = "weighted"
    cache: Annotated[bool, Meta(description="Answer repeated requests from the cache.")] = False


class Timeouts(_Section, frozen=True, kw_only=True):
    """Seconds, for each try at a provider."""

    connect_s: Annotated[float, Meta(description="Until connected.", gt=0)] = 5.0
    first_byte_s: Annotated[float, Meta(description="Until the answer's head.", gt=0)] = 120.0
    between_bytes_s: Annotated[
        float, Meta(description="Longest silence inside an answer.", gt=0)
    ] = 60.0
    total_s: Annotated[float, Meta(description="The whole try.", gt=0)] = 600.0
    call_s: Annotated[float, Meta(description="The whole call with all its tries.", gt=0)] = 900.0


class Retry(_Section, frozen=True, kw_only=True):
    """How often a failed try is repeated, and where."""

    max_tries: Annotated[int, Meta(description="Tries per call over all deployments.", ge=1)] = 4
    same_deployment: Annotated[
        int, Meta(description="Tries at one deployment when it is the only one.", ge=1)
    ] = 2
    backoff_s: Annotated[
        float, Meta(description="First pause before the same deployment is tried again.", ge=0)
    ] = 0.25
    max_backoff_s: Annotated[
        float, Meta(description="Longest pause; a longer Retry-After ends the call.", ge=0)
    ] = 10.0
    budget_ratio: Annotated[
        float, Meta(description="Retries allowed per first try, over the last minute.", ge=0)
    ] = 0.5


class Breaker(_Section, frozen=True, kw_only=True):
    """When a failing deployment leaves rotation, and when it may come back."""

    failures: Annotated[int, Meta(description="Failures in a row that open the breaker.", ge=1)] = 1
    open_s: Annotated[
        float, Meta(description="First time out of rotation, doubled at each failed probe.", gt=0)
    ] = 5.0
    max_open_s: Annotated[float, Meta(description="Longest time out of rotation.", gt=0)] = 120.0


class Cache(_Section, frozen=True, kw_only=True):
    """The exact answer cache; used where a key or route asks for it."""

    max_mb: Annotated[int, Meta(description="Memory bound, megabytes; 0 turns it off.", ge=0)] = 64
    ttl_s: Annotated[float, Meta(description="Age bound, seconds.", gt=0)] = 3600.0
    max_entry_kb: Annotated[
        int, Meta(description="Answers larger than this are not kept.", ge=1)
    ] = 512


class Budget(_Section, frozen=True, kw_only=True):
    """A limit of money in a window of time. The table's name is the budget's name."""

    dollars: Annotated[str | float | int, Meta(description="The limit.")]
    window: Annotated[
        Literal["day", "week", "month", "total"], Meta(description="UTC calendar window.")
    ] = "month"
    key: Annotated[str | None, Meta(description="Only this key (name or id).")] = None
    team: Annotated[str | None, Meta(description="Only this team.")] = None
    model: Annotated[str | None, Meta(description="Only this model or route.")] = None
    tag: Annotated[str | None, Meta(description="Only calls with this tag.")] = None
    alert_at: Annotated[tuple[int, ...], Meta(description="Percentages that raise an alert.")] = (
        80,
        100,
    )


class Rate(_Section, frozen=True, kw_only=True):
    """A limit of calls per minute, common to all processes of one host. The table's name is the rate's."""

    requests_per_minute: Annotated[
        _AtLeastOne | None, Meta(description="Calls per minute; unset: any number.")
    ] = None
    tokens_per_minute: Annotated[
        _AtLeastOne | None,
        Meta(description="Tokens per minute, counted at their upper bound until usage is known."),
    ] = None
    burst_s: Annotated[
        float,
        Meta(
            description="How much may come at once after a pause, as seconds of the rate.",
            gt=0,
            le=86_400,
        ),
    ] = 60.0
    key: Annotated[str | None, Meta(description="Only this key (name or id).")] = None
    team: Annotated[str | None, Meta(description="Only this team.")] = None
    model: Annotated[str | None, Meta(description="Only this model or route.")] = None
    tag: Annotated[str | None, Meta(description="Only calls with this tag.")] = None


class FlowSetting(_Section, frozen=True, kw_only=True):
    """A flow that is served at /flows/NAME/score. The table's name is that name."""

    path: Annotated[
        str,
        Meta(description="Its folder or file; relative to where the program runs.", min_length=1),
    ]


class Images(_Section, frozen=True, kw_only=True):
    """How images that a flow's inputs give by their addresses are fetched."""

    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Hosts that are fetched from although they are not public, or have another port: "
            "`files.example.com`, `*.example.com`, `10.0.0.5:9000`."
        ),
    ] = ()
    max_bytes: Annotated[int, Meta(description="Largest image that is fetched, bytes.", ge=1)] = (
        20 * 1024 * 1024
    )
    timeout_s: Annotated[
        float, Meta(description="How long the images of one line may take, seconds.", gt=0)
    ] = 20.0
    use_proxy: Annotated[
        bool,
        Meta(
            description="Fetch through HTTPS_PROXY and HTTP_PROXY. The proxy then decides where names lead; "
            "what is known here not to be public is refused all the same."
        ),
    ] = False


class Alerts(_Section, frozen=True, kw_only=True):
    """Where alerts go, beside the log and the metrics."""

    webhook_url: Annotated[str | None, Meta(description="POST target for alerts.")] = None
    webhook_secret: Annotated[
        str | None, Meta(description="`env:NAME`; signs the body (HMAC-SHA256).")
    ] = None
    max_tries: Annotated[int, Meta(description="Tries per alert.", ge=1)] = 5


class Telemetry(_Section, frozen=True, kw_only=True):
    """Metrics, traces, access log."""

    access_log: Annotated[
        bool, Meta(description="One JSON line per call on standard error, without text.")
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Log level.")
    ] = "info"
    max_label_values: Annotated[
        int, Meta(description="Distinct values per metric label; more become `other`.", ge=1)
    ] = 200
    otlp_endpoint: Annotated[
        str | None,
        Meta(description="OTLP over HTTP, e.g. `http://127.0.0.1:4318`; needs the otel extra."),
    ] = None
    otlp_headers: Annotated[
        dict[str, str], Meta(description="Headers for the exporter; values may be `env:NAME`.")
    ] = {}


class Settings(_Section, frozen=True, kw_only=True):
    """Everything. Unknown keys are refused with line, column and the nearest name."""

    server: Server = Server()
    storage: Storage = Storage()
    ledger: Ledger = Ledger()
    providers: dict[str, Provider] = {}
    deployments: dict[str, Deployment] = {}
    routes: dict[str, Route] = {}
    aliases: Annotated[
        dict[str, str], Meta(description="Other names for models, routes and deployments.")
    ] = {}
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    cache: Cache = Cache()
    budgets: dict[str, Budget] = {}
    rates: dict[str, Rate] = {}
    flows: dict[str, FlowSetting] = {}
    images: Images = Images()
    alerts: Alerts = Alerts()
    telemetry: Telemetry = Telemetry()
