"""What a LiteLLM proxy config says that farthing.toml does not, and what to do instead."""

from __future__ import annotations

#: LiteLLM's prefix of `model` → our provider type (from memory, except docker_model_runner:
#: docs.litellm.ai/docs/providers/docker_model_runner, read 2026-11-24).
VENDORS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "custom_openai": "openai",
    "litellm_proxy": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "mistral": "mistral",
    "groq": "groq",
    "deepseek": "deepseek",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "openrouter": "openrouter",
    "huggingface": "huggingface",
    "ollama": "ollama",
    "ollama_chat": "ollama",
    "lm_studio": "lmstudio",
    "hosted_vllm": "vllm",
    "llamafile": "llamacpp",
    "docker_model_runner": "docker",
    "xai": "xai",
    "perplexity": "perplexity",
}
#: Where LiteLLM looks for a key when an entry names none (from memory, unverified; perplexity's as other
#: projects for LiteLLM write it, read 2026-11-24).
DEFAULT_KEYS = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GEMINI_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "groq": "GROQ_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "together": "TOGETHERAI_API_KEY",
    "fireworks": "FIREWORKS_AI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "huggingface": "HF_TOKEN",
    "xai": "XAI_API_KEY",
    "perplexity": "PERPLEXITYAI_API_KEY",
}
#: A bare model name → vendor, as LiteLLM guesses it.
BARE_NAMES = (
    ("gpt-", "openai"),
    ("chatgpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("claude", "anthropic"),
    ("gemini", "google"),
)
#: LiteLLM's price fields, dollars per token → ours, dollars per million.
PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
}
#: An entry's plain numbers → ours.
NUMBERS = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "max_input_tokens": "context_tokens",
    "max_output_tokens": "max_output_tokens",
    "stream_timeout": "first_byte_s",
}
#: Keys of an entry that make its provider and its deployment's name.
CARRIED = frozenset(
    {
        "model",
        "api_base",
        "base_url",
        "api_key",
        "api_version",
        "organization",
        "region_name",
        "extra_headers",
        "custom_llm_provider",
        "base_model",
    }
)
STRATEGIES = {"simple-shuffle": "weighted", "least-busy": "least_busy"}
WINDOWS = {"1d": "day", "24h": "day", "7d": "week", "1w": "week", "30d": "month", "1mo": "month"}

#: Keys that need nothing: Farthing does so always, or has no use for them.
ALWAYS = {
    "litellm_settings.drop_params": (
        "not needed: what another dialect cannot say is left out and listed in the x-farthing-dropped "
        "header, or refused where leaving it out would change the answer."
    ),
    "litellm_settings.modify_params": "not needed: requests are translated, never edited.",
    "litellm_settings.turn_off_message_logging": "not needed: no prompt or answer is ever logged.",
    "litellm_settings.redact_user_api_key_info": "not needed: keys are stored as hashes only.",
    "litellm_settings.set_verbose": 'use telemetry.log_level = "debug".',
    "router_settings.enable_pre_call_checks": "not needed: context sizes are always checked.",
    "router_settings.enable_pre_call_check": "not needed: context sizes are always checked.",
    "general_settings.store_prompts_in_spend_logs": "not available: no prompt is ever stored.",
    "general_settings.database_connection_pool_limit": "not needed.",
    "general_settings.proxy_batch_write_at": "not needed: every call's cost is written at once.",
    "litellm_params.drop_params": (
        "not needed: fields that another dialect cannot say are always dropped and listed."
    ),
    "model_info.id": "not needed: the deployment's table name is its id.",
    "model_info.db_model": "not needed.",
}
#: Keys without an equivalent setting → what to do instead. Names by LiteLLM's own list
#: (github.com/BerriAI/litellm, docs/my-website/docs/proxy/config_settings.md, read 2026-11-24).
INSTEAD = {
    "general_settings.master_key": "create an admin key with `farthing keys create --role admin`.",
    "general_settings.database_url": (
        "LiteLLM's database is not read; set FARTHING_STORAGE__URL to a database of Farthing's own."
    ),
    "general_settings.alerting": "set alerts.webhook_url; alerts also go to the log and to /metrics.",
    "general_settings.alerting_threshold": "use the alert rules on farthing_request_duration_seconds.",
    "general_settings.alert_types": "use the shipped Prometheus alert rules.",
    "general_settings.store_model_in_db": "models live in farthing.toml only; edit the file.",
    "general_settings.max_parallel_requests": "use server.max_concurrent_calls.",
    "general_settings.global_max_parallel_requests": "use server.max_concurrent_calls.",
    "general_settings.enable_jwt_auth": (
        "Farthing checks its own keys; put a proxy in front for others."
    ),
    "general_settings.pass_through_endpoints": "not available; only models are served.",
    "general_settings.max_request_size_mb": "use server.max_body_mb.",
    "general_settings.key_management_system": (
        "give keys as env: or file: references; let the secret manager fill those."
    ),
    "general_settings.alert_to_webhook_url": "one receiver for all: alerts.webhook_url.",
    "general_settings.custom_auth": "Farthing checks its own keys; put a proxy in front for others.",
    "router_settings.redis_host": "not needed for one process; retries and breakers are in memory.",
    "router_settings.redis_port": "not needed for one process.",
    "router_settings.redis_password": "not needed for one process.",
    "router_settings.redis_db": "not needed for one process.",
    "router_settings.stream_timeout": "use timeouts.first_byte_s.",
    "router_settings.default_max_parallel_requests": "use server.max_concurrent_calls.",
    "router_settings.provider_budget_config": "use budgets: [budgets.NAME] model = … for each model.",
    "router_settings.disable_cooldowns": "use [breaker]; it is always on.",
    "router_settings.default_litellm_params": "not available; requests are sent as the caller wrote them.",
    "router_settings.redis_url": "not needed for one process.",
    "router_settings.context_window_fallbacks": (
        "calls that are too long go to the route's larger deployments; list those in the route."
    ),
    "router_settings.content_policy_fallbacks": "a filtered prompt is answered as such, not retried.",
    "router_settings.retry_policy": "use [retry]; what is retried follows from the error's kind.",
    "router_settings.allowed_fails_policy": "use [breaker].",
    "router_settings.routing_strategy_args": "no strategy here takes arguments.",
    "router_settings.retry_after": "use retry.backoff_s; a provider's Retry-After is honoured.",
    "router_settings.cache_responses": "set cache = true on the routes that may be cached.",
    "litellm_settings.context_window_fallbacks": (
        "calls that are too long go to the route's larger deployments; list those in the route."
    ),
    "litellm_settings.content_policy_fallbacks": "a filtered prompt is answered as such, not retried.",
    "litellm_settings.callback_settings": "configure the receiver of telemetry.otlp_endpoint.",
    "litellm_settings.guardrails": "not available; moderate before the call.",
    "litellm_settings.default_team_settings": "create a budget per team: [budgets.NAME] team = …",
    "litellm_settings.success_callback": "see the note on callbacks.",
    "litellm_params.timeout": "timeouts are set for all deployments under [timeouts].",
    "litellm_params.max_retries": "retries are set for all deployments under [retry].",
    "litellm_params.max_parallel_requests": "use requests_per_minute, or server.max_concurrent_calls.",
    "litellm_params.max_budget": "use a budget: [budgets.NAME] model = …",
    "litellm_params.budget_duration": "use a budget's window.",
    "litellm_params.azure_ad_token": 'set auth = "entra" on the provider.',
    "litellm_params.tenant_id": 'set auth = "entra" on the provider; the identity comes from the environment.',
    "litellm_params.client_id": 'set auth = "entra" on the provider; the identity comes from the environment.',
    "litellm_params.client_secret": 'set auth = "entra"; the secret stays in the environment.',
    "litellm_params.mock_response": 'use a provider of type "sim".',
    "environment_variables": "set these in the environment of the process; their values were not copied.",
    "guardrails": "not available; moderate before the call.",
    "mcp_servers": "not available.",
    "callback_settings": "configure the receiver of telemetry.otlp_endpoint.",
}
#: Callbacks that have an equivalent.
CALLBACKS = {
    "prometheus": "Prometheus series are always at /metrics.",
    "otel": "set telemetry.otlp_endpoint (extra: pip install 'farthing[otel]').",
    "langfuse": "set telemetry.otlp_endpoint to Langfuse's /api/public/otel and its key in otlp_headers.",
    "langfuse_otel": "set telemetry.otlp_endpoint to Langfuse's /api/public/otel.",
    "arize_phoenix": "set telemetry.otlp_endpoint to Phoenix.",
    "datadog": "set telemetry.otlp_endpoint to Datadog with headers dd-api-key, dd-otlp-source=llmobs.",
    "datadog_llm_observability": "set telemetry.otlp_endpoint to Datadog, header dd-otlp-source=llmobs.",
}
