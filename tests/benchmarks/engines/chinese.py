"""The tables of the benchmark for the page in Chinese."""

PHRASES = (  # longer ones before those that they contain
    ("Machine: ", "机器："),
    ("Versions: ", "版本："),
    (" cores, ", " 个核心，"),
    (" rounds, ", " 轮，"),
    (" images; ", " 张图片；"),
    ("### Ratios", "### 比值"),
    ("### Accuracy", "### 精度"),
    ("### Time to load, s", "### 加载时间，s"),
    ("### Time to compile or quantize, s", "### 编译或量化时间，s"),
    ("CPU time, one thread", "CPU 时间，单线程"),
    ("Wall time, ", "墙钟时间，"),
    (" threads", " 线程"),
    (", ms\n", "，ms\n"),
    ("| network | figure |", "| 网络 | 数据 |"),
    ("modc fp32 vs ORT fp32", "modc fp32 对 ORT fp32"),
    ("modc int8 vs ORT int8, both on ORT", "modc int8 对 ORT int8，均在 ORT 上"),
    ("modc int8, best engine, vs NNCF int8", "modc int8（最快的引擎）对 NNCF int8"),
    ("| best engine |", "| 最快的引擎 |"),
    (" missed**", " 未达到**"),
    ("| network |", "| 网络 |"),
    ("| images |", "| 图片 |"),
    ("| rounding alone |", "| 仅舍入 |"),
    ("**, O", "**，O"),
    (", in turns |", "，轮流 |"),
    (".\n", "。\n"),
)


def in_chinese(text: str) -> str:
    """What `tables.markdown` made, its words in Chinese and its figures as they are."""
    for english, chinese in PHRASES:
        text = text.replace(english, chinese)
    return text
