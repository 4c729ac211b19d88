"""The lines that boards, summaries and inboxes are made of, and how a text is shortened for a prompt.

Spec: COORD 21 (shared pieces), 21.4 (caps).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.text import compact
from ..engines.coordination_metrics import age_label
from ..state.coordination_records import severity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    JsonObject = dict[str, Any]

NONE = "- None."


def section(heading: str, lines: Sequence[str], empty: str = NONE) -> list[str]:
    """`## <heading>` and its lines, or the line for an empty list, and a blank line before it."""
    return ["", f"## {heading}", "", *(lines or [empty])]


def open_record_line(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """One open record: priority, kind, status, author, targets, tags, id, text, artifacts."""
    entry = metrics["recordMetricsById"].get(record["id"], {})
    tags = []
    if entry.get("ageLabel"):
        tags.append(f"age={entry['ageLabel']}")
    if entry.get("overdueAck"):
        tags.append("overdue-ack")
    if entry.get("staleClarification"):
        tags.append("stale-clarification")
    if record["blocking"] is False:
        tags.append("non-blocking")
    tags.append(f"severity={severity_of(record)}")
    targets = f" -> {', '.join(record['targets'])}" if record["targets"] else ""
    artifacts = f" [artifacts: {', '.join(record['artifactRefs'])}]" if record["artifactRefs"] else ""
    said = compact(record["summary"] or record["detail"], 160)
    return (
        f"- [{record['priority']}] {record['kind']}/{record['status']} {record['agentId']}{targets} "
        f"[{', '.join(tags)}] id={record['id']}: {said}{artifacts}"
    )


def activity_line(record: Mapping[str, Any]) -> str:
    """One record in the order of time."""
    targets = f" -> {', '.join(record['targets'])}" if record["targets"] else ""
    said = compact(record["summary"] or record["detail"], 180)
    return f"- {record['updatedAt']} | {record['agentId']} | {record['kind']}/{record['status']}{targets} | {said}"


def assignment_line(item: Mapping[str, Any]) -> str:
    """One helper assignment."""
    return (
        f"- [{item['priority']}] {item['requestId']} -> {item['target'] or 'untargeted'} => "
        f"{item['assignedAgentId'] or 'unresolved'} ({item['assignmentReason']})"
    )


def dependency_line(item: Mapping[str, Any]) -> str:
    """One ticket between lanes."""
    required = ", required" if item["required"] else ""
    assignee = f" -> {item['assignedAgentId']}" if item["assignedAgentId"] else ""
    said = compact(item["summary"] or item["detail"], 160)
    return f"- [{item['direction']}{required}] {item['id']}: {said}{assignee}"


def runtime_line(item: Mapping[str, Any]) -> str:
    """Which executor an agent uses."""
    fallback = "yes" if item["fallbackUsed"] else "no"
    return (
        f"- {item['agentId']}: executor={item['executorId'] or 'n/a'} role={item['role']} "
        f"profile={item['profile'] or 'n/a'} fallback_used={fallback}"
    )


def timing_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The four bullets about waiting."""

    def age(key: str) -> str:
        return "none" if metrics[key] is None else age_label(metrics[key])

    return [
        f"- Oldest open coordination age: {age('oldestOpenCoordinationAgeMs')}",
        f"- Oldest unacknowledged request age: {age('oldestUnackedRequestAgeMs')}",
        f"- Overdue acknowledgements: {metrics['overdueAckCount']}",
        f"- Overdue clarification chains: {metrics['overdueClarificationCount']}",
    ]


def entry_lines(entries: Sequence[str], limit: int, width: int = 180) -> list[str]:
    """At most `limit` entries, each cut to `width`, then how many more there are."""
    lines = [f"- {compact(entry, width)}" for entry in entries[:limit]]
    if len(entries) > limit:
        lines.append(f"- ... {len(entries) - limit} more item(s)")
    return lines


def cap_text(text: str, limit: int, notice: str, importance: Iterable[str] = ()) -> str:
    """The text in at most `limit` characters, made of whole lines and ended by `notice`; a text that fits as it is.

    Lines go from the end of the least important section first; `importance` lists section headings, most important
    first (others follow in text order). Each shortened section ends with `- ... <k> more`. Spec: COORD 21.4.
    """
    if len(text) <= limit:
        return text
    head, sections = _split(text)
    rank = {heading: number for number, heading in enumerate(importance)}
    order = sorted(range(len(sections)), key=lambda at: (rank.get(sections[at][0], len(rank)), at))
    removed = [0] * len(sections)
    size = len(text.rstrip("\n")) + 1 + len(notice) + 1
    for at in reversed(order):
        lines = sections[at][1]
        while size > limit and any(line.strip() for line in lines):
            line = lines.pop()
            size -= len(line) + 1
            if line.strip():
                size += _more_size(removed[at] + 1) - _more_size(removed[at])
                removed[at] += 1
    parts = list(head)
    for (heading, lines), count in zip(sections, removed):
        parts.append(f"## {heading}")
        if count:
            while lines and not lines[-1].strip():
                lines.pop()
            parts += [*lines, f"- ... {count} more", ""]
        else:
            parts += lines
    while parts and not parts[-1].strip():
        parts.pop()
    whole = "\n".join([*parts, notice])
    return whole if len(whole) <= limit else whole[: max(0, limit - len(notice) - 1)].rsplit("\n", 1)[0] + "\n" + notice


def _more_size(count: int) -> int:
    return len(f"- ... {count} more\n\n") if count else 0


def _split(text: str) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Lines before the first section, and (heading, lines) of each section."""
    head: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("## "):
            sections.append((line[3:].strip(), []))
        else:
            (sections[-1][1] if sections else head).append(line)
    return head, sections
