"""`farthing sim`: run simulated regions, check a scenario, list the faults."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from farthing.sim.http import Simulator
    from farthing.sim.scenario import RegionTable, Scenario


@click.group()
def sim() -> None:
    """Run simulated regional deployments."""


@sim.command()
@click.option("--scenario", "file", help="A TOML file, or a built-in one: default, demo.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--seed", type=int, help="Another seed than the scenario's.")
@click.option("--control-port", type=click.IntRange(0, 65535), help="Port of /_sim; 0 picks one.")
@json_option
def up(
    file: str | None, host: str, seed: int | None, control_port: int | None, as_json: bool
) -> None:
    """Start the regions of a scenario. Runs until Ctrl-C."""
    import msgspec

    from farthing.sim.scenario import load

    scenario = load(file)
    changes = {"seed": seed, "control_port": control_port}
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        asyncio.run(_up(msgspec.structs.replace(scenario, **given), host, as_json=as_json))
    except KeyboardInterrupt:
        if not as_json:
            click.echo("Stopped.")


@sim.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check a scenario file; the first mistake is shown with the nearest name."""
    from farthing.sim.scenario import load

    scenario = load(file)
    if as_json:
        print_json({"name": scenario.name, "regions": list(scenario.regions), "is_valid": True})
    else:
        count = len(scenario.regions)
        regions = f"{count} region{'s' if count > 1 else ''}"
        click.echo(f"{file}: scenario '{scenario.name}' is valid ({regions}).")


@sim.command()
@json_option
def faults(as_json: bool) -> None:
    """List the menu of faults: what each does, and what is billed."""
    from farthing.sim.faults import MENU

    if as_json:
        print_json({name: {"does": f.does, "billed": f.billed} for name, f in MENU.items()})
        return
    print_table(["fault", "billed", "does"], [(n, f.billed, f.does) for n, f in MENU.items()])
    click.echo(
        "billed: nothing; cut = the input, and the output until the cut; all = the whole answer.\n"
        "Ask for one with the header `x-sim-fault: NAME@first|middle|last`, or schedule it in TOML."
    )


async def _up(scenario: Scenario, host: str, *, as_json: bool) -> None:
    from farthing.sim.http import Simulator

    async with Simulator(scenario, host=host) as simulator:
        if as_json:
            regions = {
                name: {"url": simulator.url(name), "base_url": simulator.url(name) + prefix(table)}
                for name, table in scenario.regions.items()
            }
            shown = {"control_url": simulator.control_url, "regions": regions, "simulated": True}
            import msgspec

            click.echo(msgspec.json.encode(shown))
        else:
            _say(simulator, scenario)
        await asyncio.Event().wait()


def prefix(region: RegionTable) -> str:
    """What stands between a region's address and a client's own paths."""
    return {"openai": "/v1", "azure": "/openai/v1", "anthropic": "", "google": ""}[region.flavour]


def _say(simulator: Simulator, scenario: Scenario) -> None:
    rows = []
    for name, region in scenario.regions.items():
        for place, table in region.deployments.items():
            if table.provisioned is not None:
                judged = f"{table.provisioned.units} provisioned units"
            else:
                quota = table.quota
                assert quota is not None
                judged = f"{quota.tokens_per_minute:,} tokens/min, {quota.semantics}"
            rows.append((name, region.flavour, place, judged, simulator.url(name) + prefix(region)))
    title = (
        f"Simulated regions of scenario '{scenario.name}', seed {scenario.seed}; no answer is real"
    )
    print_table(["region", "speaks", "deployment", "judged by", "base URL"], rows, title=title)
    first = next(iter(scenario.regions))
    click.echo(
        f"Control  {simulator.control_url}/_sim/state  (also /invoice, /faults, /regions/{first})"
    )
    click.echo(
        "Point any client's base URL at a region, or a provider's base_url in farthing.toml."
    )
    click.echo("Ctrl-C stops.")
