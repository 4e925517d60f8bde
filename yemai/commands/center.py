"""``yemai center``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yemai.commands._part import ConfigFile, group, run_module
from yemai.words import say

if TYPE_CHECKING:
    from command_center.audit import Act, Finding
    from command_center.figures import Report

app = group("指挥中心。", "The command centre.")

Checkpoints = Annotated[
    Path | None,
    typer.Option(
        help=say("另处保存的检查点文件", "a file of checkpoints kept elsewhere; else the configured one")
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help=say(
            "签名公钥（十六进制）", "the public key, in hex, that must have signed them; else this centre's"
        )
    ),
]


@app.command(help=say("运行指挥中心。", "Run the command centre."))
def run(config: ConfigFile) -> None:
    """Run the command centre."""
    run_module("command_center", config)


@app.command(help=say("检查配置文件，不运行。", "Check the configuration and run nothing."))
def check(config: ConfigFile) -> None:
    """Check the configuration, and say whom no proven address reaches."""
    import asyncio  # noqa: PLC0415 - heavy

    from command_center import policies  # noqa: PLC0415
    from command_center.config import load_config  # noqa: PLC0415
    from command_center.people import contacts  # noqa: PLC0415

    loaded = load_config(config)
    typer.echo(say(f"{config}：没有问题", f"{config}: nothing is wrong"))
    if loaded.notify.file is None:
        return
    told = policies.load(loaded.notify.file)
    for who, channels in asyncio.run(contacts.unreached(loaded.desk.url, told)):
        name, by = told.setup.people[who].name, ", ".join(channels)
        typer.echo(
            say(
                f"{name.zh}（{who}）没有已核验的联系方式：{by}",
                f"{name.en} ({who}) has no verified contact: {by}",
            )
        )


@app.command(
    help=say(
        "告警绩效指标（EEMUA 191），默认最近 7 天。",
        "How the desk fared against EEMUA 191, the last seven days unless said otherwise.",
    )
)
def figures(
    config: ConfigFile,
    days: Annotated[
        int, typer.Option(min=1, max=400, help=say("最近多少天", "how many days, up to now"))
    ] = 7,
    positions: Annotated[
        int, typer.Option(min=1, max=1000, help=say("值守席位数", "how many operating positions"))
    ] = 1,
    csv: Annotated[bool, typer.Option("--csv", help=say("输出 CSV", "as CSV"))] = False,
) -> None:
    """Print the figures of a span that ends now."""
    import asyncio  # noqa: PLC0415 - heavy
    import sys  # noqa: PLC0415

    from command_center import reports  # noqa: PLC0415

    report = asyncio.run(_figures(config, days, positions))
    if csv:
        sys.stdout.buffer.write(reports.figures_csv(report, say("zh", "en")))
        return
    verdicts = {
        "good": say("达标", "within the target"), "fair": say("超目标", "above the target"),
        "poor": say("超限", "above the limit"), "none": "",
    }  # fmt: skip
    for one in report.measures:
        value = "—" if one.value is None else f"{one.value:g}"
        unit = "" if one.unit == "1" else f" {one.unit}"
        typer.echo(f"{say(*reports.NAMES[one.name])}: {value}{unit}  {verdicts[one.verdict]}".rstrip())
    for n, source in enumerate(report.top, 1):
        typer.echo(f"#{n} {source.device} {source.rule}: {source.alarms} ({100 * source.share:.1f} %)")
    if report.short:
        typer.echo(
            say(
                "统计期不足 30 天，目标值仅供参考",
                "the span is shorter than the thirty days the targets are meant for",
            ),
            err=True,
        )


async def _figures(config: Path, days: int, positions: int) -> Report:
    from command_center import reports  # noqa: PLC0415 - heavy
    from command_center.config import load_config  # noqa: PLC0415
    from command_center.figures import DAY_MS  # noqa: PLC0415
    from command_center.store import Store  # noqa: PLC0415
    from telemetry.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now_ms()
    async with Store(load_config(config).desk.url) as store, store.read() as db:
        return await reports.read(db, now - days * DAY_MS, now, positions=positions)


@app.command(
    help=say(
        "在运行中的指挥中心演练一个预案，不触及任何设备。", "Run a plan as an exercise in the running centre."
    )
)
def drill(
    plan: Annotated[str, typer.Argument(help=say("预案", "the plan's id"))],
    config: ConfigFile,
    device: Annotated[str, typer.Option(help=say("假定告警的设备", "the device it is about"))],
    key: Annotated[
        Path | None,
        typer.Option(
            help=say("机器密钥文件；否则取环境变量", "a file with a machine's key; else $YEMAI_CENTER_KEY")
        ),
    ] = None,
    url: Annotated[
        str, typer.Option(help=say("指挥中心地址", "where the centre is; else as configured"))
    ] = "",
) -> None:
    """Run a plan as an exercise; nothing of it reaches a device."""
    import asyncio  # noqa: PLC0415 - heavy

    from yemai.commands import _center_drill  # noqa: PLC0415

    for line in asyncio.run(_center_drill.drill(config, plan, device, url, _center_drill.key_of(key))):
        typer.echo(line)


@app.command(
    help=say(
        "各类设备、各级告警对应的预案；有红色告警无预案则退出码为 1。",
        "Which plan answers which class and colour; exit 1 when red alarms of a class have none.",
    )
)
def coverage(
    config: ConfigFile,
    json: Annotated[bool, typer.Option("--json", help=say("输出 JSON", "as JSON"))] = False,
) -> None:
    """Print what the plans cover."""
    import msgspec  # noqa: PLC0415 - heavy
    from rich.console import Console  # noqa: PLC0415

    from yemai.commands import _center_coverage  # noqa: PLC0415

    found = _center_coverage.rows(config)
    missing = [row for row in found if not row["plans"]]
    if json:
        typer.echo(msgspec.json.encode({"without": missing, "rows": found}).decode())
    else:
        Console(soft_wrap=True).print(_center_coverage.table(found))
        typer.echo(
            say(
                f"{len(found)} 项中 {len(missing)} 项无预案；括号内的预案有时段、地点或规则限制",
                f"{len(missing)} of {len(found)} have no plan; a plan in brackets holds at times, places or rules only",
            )
        )
    if red := _center_coverage.red_without(found):
        typer.echo(
            say(f"红色告警无预案：{'、'.join(red)}", f"red alarms without a plan: {', '.join(red)}"), err=True
        )
        raise typer.Exit(1)


@app.command(
    "verify-audit",
    help=say("校验审计链，有问题则退出码为 1。", "Verify the audit trail; exit 1 when it is not whole."),
)
def verify_audit(config: ConfigFile, checkpoints: Checkpoints = None, key: Key = None) -> None:
    """Verify the audit trail."""
    import asyncio  # noqa: PLC0415 - heavy

    count, seen, findings = asyncio.run(_verify(config, checkpoints, key))
    for found in findings:
        typer.echo(f"{found.seq}: {found.problem}")
    if findings:
        raise typer.Exit(1)
    typer.echo(
        say(f"{count} 条记录，{seen} 个检查点，完整", f"{count} entries against {seen} checkpoints: whole")
    )
    if not seen:
        typer.echo(
            say(
                "没有检查点：截尾与整链重写无法发现",
                "without checkpoints neither a tail cut off nor a chain stamped anew can be found",
            ),
            err=True,
        )


@app.command(
    "verify-deliveries",
    help=say(
        "校验一份签名的送达报告，被改动的一律拒绝。",
        "Verify a signed report of deliveries; one that was changed is refused.",
    ),
)
def verify_deliveries(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help=say("签名的送达报告", "the signed report"))
    ],
    key: Annotated[
        str,
        typer.Option(
            help=say(
                "指挥中心的公钥（十六进制），另行取得", "the centre's public key, in hex, had by another way"
            )
        ),
    ],
    csv: Annotated[
        Path | None,
        typer.Option(help=say("校验后把表格写到此处", "write the table here once it is verified")),
    ] = None,
) -> None:
    """Verify a signed report of deliveries."""
    from datetime import UTC, datetime  # noqa: PLC0415 - small, but only here

    from command_center import exports  # noqa: PLC0415 - heavy

    found = exports.read(file, key)
    if csv is not None:
        csv.write_bytes(found.csv.encode())
    since, until, made = (
        f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for at in (found.since_ms, found.until_ms, found.made_ms)
    )
    typer.echo(
        say(
            f"{since} 至 {until} 的 {found.rows} 条送达记录，{found.made_by} 于 {made} 导出，未被改动",
            f"{found.rows} deliveries from {since} to {until}, made {made} by {found.made_by}: unchanged",
        )
    )
    if not found.whole:
        typer.echo(
            say(
                "不是全部：导出者看不到所有区域，或条数达到上限",
                "not all of them: its maker does not see every area, or it reached the most rows",
            ),
            err=True,
        )


@app.command(
    help=say(
        "打印一次性登记链接：尚无用户时给第一位安全管理员，否则重置 --login 指定的用户。",
        "Print a one-time link to enrol: for the first security admin, or, with --login, to reset somebody.",
    )
)
def link(
    config: ConfigFile,
    login: Annotated[str | None, typer.Option(help=say("要重置的登录名", "whom to reset"))] = None,
) -> None:
    """Print a one-time link to enrol by."""
    import asyncio  # noqa: PLC0415 - heavy

    typer.echo(asyncio.run(_link(config, login)))


@app.command(
    "forget-codes",
    help=say(
        "动态码密钥文件丢失时：作废所有人的动态码，并为每人打印新的登记链接。",
        "When the key of one-time codes is lost: void everybody's codes and print each a link to enrol anew.",
    ),
)
def forget_codes(config: ConfigFile) -> None:
    """Let everybody enrol anew."""
    import asyncio  # noqa: PLC0415 - heavy

    from yemai.commands import _center_codes  # noqa: PLC0415 - heavy

    for line in asyncio.run(_center_codes.forget(config, _console())):
        typer.echo(line)


@app.command(help=say("为接口生成一个机器密钥。", "Make a machine's key for the desk's API."))
def key(
    name: Annotated[str, typer.Option(help=say("谁用它", "whose it is"))],
    right: Annotated[list[str], typer.Option(help=say("权限，可重复", "what it may; repeat it"))] = ["read"],  # noqa: B006 - typer copies it
) -> None:
    """Print a new key, once, and what the configuration needs of it."""
    from command_center.people.sessions import hash_of, new_key  # noqa: PLC0415 - heavy
    from command_center.people.settings import KeyConfig, PeopleConfig  # noqa: PLC0415

    secret = f"yemai_{new_key()}"
    if problem := PeopleConfig(keys=(KeyConfig(name, hash_of(secret), tuple(right)),)).problem():
        raise typer.BadParameter(problem[1])
    typer.echo(say(f"密钥（只显示这一次）：{secret}", f"The key, shown this once: {secret}"), err=True)
    rights = ", ".join(f'"{one}"' for one in right)
    typer.echo(f'[[people.keys]]\nname = "{name}"\nsha256 = "{hash_of(secret)}"\nrights = [{rights}]')


@app.command(
    "purge-audit",
    help=say(
        "删除过期的审计记录；不足 180 天的一律拒绝。",
        "Delete old entries of the audit trail; younger than 180 days is refused.",
    ),
)
def purge_audit(
    config: ConfigFile,
    older_than_days: Annotated[
        int, typer.Option(help=say("删除早于多少天的记录", "how many days old, at least"))
    ] = 180,
) -> None:
    """Purge the audit trail."""
    import asyncio  # noqa: PLC0415 - heavy

    gone = asyncio.run(_purge(config, older_than_days))
    typer.echo(say(f"已删除 {gone} 条", f"{gone} entries deleted"))


def _console() -> Act:
    """Who does it: whoever has this machine, under the name it knows him by."""
    import getpass  # noqa: PLC0415 - small, but only here
    import socket  # noqa: PLC0415

    from command_center.audit import Act  # noqa: PLC0415 - heavy

    return Act(f"console:{getpass.getuser()}"[:64], socket.gethostname())


async def _link(config: Path, login: str | None) -> str:
    from command_center.config import load_config  # noqa: PLC0415 - heavy
    from command_center.people import links, users  # noqa: PLC0415
    from command_center.store import Store  # noqa: PLC0415
    from telemetry.clock import SystemClock  # noqa: PLC0415
    from telemetry.errors import Refused, did_you_mean  # noqa: PLC0415

    loaded, now = load_config(config), SystemClock().now_ms()
    async with Store(loaded.desk.url) as store, store.change() as db:
        logins = [user.login for user in await users.everyone(db)]
        if login is None:
            if logins:
                raise Refused(f"people are enrolled already; name one with --login: {', '.join(logins)}")
            return links.address(loaded.page.address, "first", await links.issue(db, "first", "", now))
        if login not in logins:
            raise Refused(f"there is nobody '{login}'; {did_you_mean(login, logins)}")
        token = await links.reset(db, login, _console(), now)
        return links.address(loaded.page.address, "enrol", token)


async def _purge(config: Path, days: int) -> int:
    from command_center import audit  # noqa: PLC0415 - heavy
    from command_center.config import load_config  # noqa: PLC0415
    from command_center.store import Store  # noqa: PLC0415
    from telemetry.clock import SystemClock  # noqa: PLC0415

    async with Store(load_config(config).desk.url) as store, store.change() as db:
        return await audit.purge(db, SystemClock().now_ms(), _console(), older_than_ms=days * 86_400_000)


async def _verify(config: Path, checkpoints: Path | None, key: str | None) -> tuple[int, int, list[Finding]]:
    from command_center import audit  # noqa: PLC0415 - heavy
    from command_center.config import load_config  # noqa: PLC0415
    from command_center.store import Store  # noqa: PLC0415
    from telemetry.errors import Refused  # noqa: PLC0415

    loaded = load_config(config)
    file = checkpoints or loaded.audit.checkpoints
    if checkpoints is not None and not checkpoints.exists():
        raise Refused(f"there is no file of checkpoints '{checkpoints}'")
    known = audit.read_checkpoints(file) if file and file.exists() else []
    if key is None and loaded.audit.key.exists():
        key = audit.Signer(loaded.audit.key).public
    async with Store(loaded.desk.url) as store, store.read() as db:
        findings = await audit.verify(db, known, key)
        head = await audit.head(db, 0)
    return head.count, len(known), findings
