"""Mistakes in a configuration, told in Chinese: the sentences of its checks, as patterns.

Checks raise one sentence, in English, which logs and the cloud keep.  Here it is put into the reader's language where
a person reads it.  A sentence that is not known here is shown as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = {
    "str": "文本", "int": "整数", "float": "数", "bool": "true 或 false", "array": "数组", "object": "表",
}  # fmt: skip
_SENTENCES: tuple[tuple[str, str], ...] = (
    # the file
    (r"not TOML: (?P<_>.*)", "不是合法的 TOML：{_}"),
    (r"not TOML that can be read: (.*)", "TOML 无法读取：{0}"),
    (r"Invalid value", "值无效"),
    (r"Illegal character (.*)", "非法字符 {0}"),
    (r"Expected newline or end of document after a statement", "一句之后应当换行"),
    (r"Unclosed array", "数组缺少 ]"),
    (r"Unclosed inline table", "表缺少 }}"),
    (r"Cannot overwrite a value", "这个键已经有值"),
    (r"Cannot declare (.*) twice", "{0} 重复声明"),
    (r"Expected '=' after a key in a key/value pair", "键后面缺少 ="),
    (r"look at: (.*?)   \((?P<_>.*)\)", "请看：{0}   （{_}）"),
    (r"look at: (.*)", "请看：{0}"),
    (r"'(.*)' is not the ASCII character: switch the input method and write it anew", "「{0}」不是半角字符：请切换到英文输入法重写"),
    (r"a decimal point, not a comma", "小数点用 . 而不是逗号"),
    (r"a text ends with the quote that it begins with", "文本以什么引号开头，就以什么引号结尾"),
    (r"not UTF-8", "不是 UTF-8 编码"),
    (r"save the file as UTF-8", "请把文件另存为 UTF-8"),
    (r"cannot be read: (.*)", "无法读取：{0}"),
    # keys and types
    (r"missing", "缺少"),
    (r"add (.*) above the first \[table\]", "请在第一个 [表] 之前添加 {0}"),
    (r"add \[\[(.*?)\]\] with (.*)", "请添加 [[{0}]]，其中写 {1}"),
    (r"add \[(.*?)\] with (.*)", "请添加 [{0}]，其中写 {1}"),
    (r"add (\S+ = .*)", "请添加 {0}"),
    (r"unknown key", "没有这个键"),
    (r"did you mean '(.*)'\?", "是不是“{0}”？"),
    (r"use one of (.*) and (\d+) more", "可以用 {0} 等，另有 {1} 个"),
    (r"use one of (.*)", "可以用 {0}"),
    (r"there is none to choose from", "没有可选的"),
    (r"Expected `(?P<type>.*?)`, got `(?P<got>.*?)`(?:, here (?P<here>.*))?", "应为{type}，却是{got}{here}"),
    (r"a number is written without quotes", "数字不加引号"),
    (r"a number is written without quotes and without a unit", "数字不加引号，也不带单位"),
    (r"write (.*)", "请写成 {0}"),
    (r"two pairs of brackets where there may be several: (.*)", "可以有多项的要用双层方括号：{0}"),
    # secrets
    (r"a secret is not written here", "密码不写在这里"),
    (r"name it as 'env:NAME' or 'file:PATH'", "请写成 'env:变量名' 或 'file:路径'"),
    (r"secret: no environment variable (.*)", "密码：没有环境变量 {0}"),
    (r"export (.*)", "请先 export {0}"),
    (r"secret: (.*): cannot be read: (.*)", "密码：{0} 无法读取：{1}"),
    # names, numbers
    (r"(agent|area) (.*) cannot be part of a topic; use letters, digits, '-', '_' and '.', at most 64", "{0} 不能是 {1}：只用字母、数字、'-'、'_' 和 '.'，最多 64 个"),
    (r"'(.*)' is no id", "“{0}”不能作编号"),
    (r"1 to (\d+) characters, no blanks and none of / \+ #", "1 到 {0} 个字符，不含空白和 / + #"),
    (r"device (.*) is given twice", "设备 {0} 重复了"),
    (r"bus (.*) is given twice", "总线 {0} 重复了"),
    (r"the other is (.*)", "另一处在 {0}"),
    (r"(\S+)( s)? is not within (\S+) and (\S+)", "{0}{1} 不在 {2} 到 {3} 之内"),
    (r"0\.5 gives history half of the way's time", "0.5 表示历史数据占用一半的链路时间"),
    (r"leave it out for the profiles' own", "不写则用设备档案自己的"),
    (r"(.*) is no port", "{0} 不是端口号"),
    (r"1 to 65535", "1 到 65535"),
    (r"1 to 65535; 1883, or 8883 with ca", "1 到 65535；一般 1883，配有 ca 时 8883"),
    (r"no line has (.*) baud", "没有 {0} 波特的线路"),
    (r"usual are (.*)", "常用 {0}"),
    (r"(.*) bytes hold not even one upload", "{0} 字节连一次上传都放不下"),
    (r"at least (\d+); leave it out for 256 MiB", "至少 {0}；不写则为 256 MiB"),
    (r"(.*) is negative", "{0} 是负数"),
    (r"0 keeps nothing free", "0 表示不预留"),
    (r"(.*) is a folder", "{0} 是文件夹"),
    (r"name a file in it", "请写其中的一个文件名"),
    (r"is empty", "是空的"),
    (r"a name or an address", "请写主机名或地址"),
    # buses and devices
    (r"(.*) is used by (.*) already", "{0} 已被 {1} 使用"),
    (r"one bus for all devices on a line, with their unit ids", "同一条线上的设备写在一个总线里，用各自的站号区分"),
    (r"a bus without devices", "总线上没有设备"),
    (r"add \[\[buses.devices\]\], or remove the bus", "请添加 [[buses.devices]]，或删去这个总线"),
    (r"a streaming sensor has the line to itself", "自发送数据的传感器独占一条线"),
    (r"give each its own bus", "请给每个传感器单独的总线"),
    (r"unit (.*) is taken by '(.*)'", "站号 {0} 已被“{1}”占用"),
    (r"identity (.*) is taken by '(.*)'", "identity {0} 已被“{1}”占用"),
    (r"each device has an address of its own", "每台设备要有自己的地址"),
    (r"'(.*)' is for (.*), driver '(.*)' serves (.*)", "“{0}”用于 {1}，而驱动“{2}”服务 {3}"),
    (r"needs 'identity'", "需要 identity"),
    (r"the IMEI or serial number that its datagrams carry", "其报文中带的 IMEI 或序列号"),
    (r"'(.*)' has no serial number to check it by", "“{0}”没有可供核对的序列号"),
    (r"leave it out", "请删去"),
    (r"(.*) is no unit id", "{0} 不是站号"),
    (r"1 to 247; 0, 250 and 255 only where the device says so", "1 到 247；0、250、255 仅在设备手册要求时使用"),
    (r"'(.*)' has no parameter '(.*)'; it has none", "“{0}”没有参数“{1}”，它没有任何参数"),
    (r"'(.*)' has no parameter '(.*)'; it has (.*)", "“{0}”没有参数“{1}”，它有 {2}"),
    (r"'(.*)' needs the parameter '(.*)', (.*) to (.*)", "“{0}”需要参数“{1}”，{2} 到 {3}"),
    (r"parameter '(.*)' is (.*); '(.*)' takes (.*) to (.*)", "参数“{0}”是 {1}，而“{2}”只接受 {3} 到 {4}"),
    (r"'(.*)' says no such thing", "“{0}”没有这个量"),
    (r"(\d+) devices at (\d+) baud need (\d+) ms of the line in every second, (\d+) %; at most (\d+) % can be planned", "{0} 台设备在 {1} 波特下每秒要占用线路 {2} 毫秒，即 {3} %；最多只能排 {4} %"),
    (r"it fits with (?P<ways>.*)", "改成这样就排得下：{ways}"),
    (r"give either 'port' \(a serial port\) or 'host' and 'tcp_port' \(a serial server\)", "请写 port（串口），或者 host 和 tcp_port（串口服务器），二者选一"),
    (r"'host' and 'tcp_port' go together: the serial server and its TCP port", "host 和 tcp_port 要一起写：串口服务器及其 TCP 端口"),
    # the way to the cloud
    (r"missing, and an uplink of kind '(.*)' needs it", "缺少，而“{0}”这种上行需要它"),
    (r"add \[broker\] with host", "请添加 [broker]，其中写 host"),
    (r"(.*) does not carry a day's alarms", "{0} 不够一天的告警用"),
    (r"at least (\d+); leave it away for no limit", "至少 {0}；不写则不限"),
    (r"datagrams need 'udp_port' and 'key', as the gateway knows them; or over = 'mqtt'", "报文方式需要 udp_port 和 key，与网关上的一致；或者 over = 'mqtt'"),
    (r"a modem asks no name server for '(.*)': give 'host' as an address, (.*)", "模组不会解析“{0}”：host 请写地址，如 {1}"),
    (r"the MQTT of a (.*) is not known here; over = 'udp' needs none", "这里不认识 {0} 的 MQTT；over = 'udp' 不需要它"),
    # reports, rules, linkages
    (r"no device here has '(.*)'", "这里没有设备有“{0}”"),
    (r"(.*) is not at least 0", "{0} 小于 0"),
    (r"0 reports every change", "0 表示有变化就上报"),
    (r"is false, so no \[\[linkage\]\] could ever act", "是 false，[[linkage]] 永远不会动作"),
    (r"remove one", "请删去其一"),
    (r"no device here is of this class", "这里没有这一类设备"),
    (r"'(.*)' is no folder", "“{0}”不是文件夹"),
    (r"make it, or leave it away", "请建立它，或者不写"),
    (r"no edge rule '(.*)' for the devices here", "这里的设备没有边缘规则“{0}”"),
    (r"'(.*)' fits no (.*) here", "“{0}”与这里的任何 {1} 都不符"),
    (r"no device '(.*)' here", "这里没有设备“{0}”"),
    (r"'(.*)' sleeps: it could not be told within (\d+) s", "“{0}”会休眠：{1} 秒之内通知不到它"),
    (r"choose a device on a bus", "请选总线上的设备"),
    (r"no ('.*?'); (?P<_>.*)", "没有 {0}；{_}"),
    (r"no (.*)", "没有 {0}"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), chinese) for pattern, chinese in _SENTENCES)
_WAYS = (
    (r"at most (\d+) of these (\d+) devices", r"\2 台设备中最多留 \1 台"),
    (r"\(of the bus, and of (.*?)(?: and (\d+) more)?\)", r"（总线的，以及 \1 等设备的）"),
    (", or ", "，或者 "),
)


def put_in_chinese(error: ConfigError) -> ConfigError:
    """Return an error whose mistakes are told in Chinese."""
    return ConfigError.together(list(_put(error)))


def in_chinese(sentence: str) -> str:
    """Return a sentence in Chinese, as it is where it is not known.

    >>> in_chinese("70000 is no port"), in_chinese("no 'modbus'"), in_chinese("out of order")
    ('70000 不是端口号', "没有 'modbus'", 'out of order')
    """
    for pattern, chinese in _PATTERNS:
        if found := pattern.fullmatch(sentence):
            named = {name: _word(name, word or "") for name, word in found.groupdict().items()}
            return chinese.format(*(word or "" for word in found.groups()), **named)
    return sentence


def _put(error: ConfigError) -> Iterator[ConfigError]:
    for one in (error, *error.also):
        path = re.sub(r"^line (\d+)(?:, column (\d+))?$", _place, one.path)
        yield ConfigError(one.file, path, in_chinese(one.problem), hint=in_chinese(one.hint))


def _place(found: re.Match[str]) -> str:
    return f"第 {found[1]} 行" + (f"第 {found[2]} 列" if found[2] else "")


def _word(name: str, word: str) -> str:
    """Put a part of a sentence that has words of its own into Chinese."""
    if name in ("type", "got"):
        return "或".join(_TYPES.get(one, f" {one} ") for one in word.split(" | ") if one != "null")
    if name == "here":
        return f"：{word}" if word else ""
    if name == "ways":
        for pattern, chinese in _WAYS:
            word = re.sub(pattern, chinese, word)
        return word
    return in_chinese(word)
