# SPDX-License-Identifier: Apache-2.0
"""Diagnosis: which defect the evidence shows, in which slots. Each is reported once, at its first appearance."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from vfio_ims.counted import counted
from vfio_ims.ranges import spans
from vfio_ims.selftest.findings import Finding, Kind, name_slots
from vfio_ims.selftest.passes import pass_count
from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["name_findings"]

_NEXT = {
    Kind.MISROUTED: "read entries back (domain.report()): if wrong it is the table's fault, else the device's",
    Kind.DEAD: "is the layout right? vfio-ims selftest DEVICE --store FILE.toml shows what entries keep",
    Kind.DEAD_AFTER_RESET: "look for what the driver's start() must do after a reset before entries take writes again",
    Kind.NOT_KEPT: "see which bits keep what is written: vfio-ims selftest DEVICE --store FILE.toml",
    Kind.REFUSED: "the words are the device's own: look them up in its specification",
    Kind.DROPS: "run it again with a longer --timeout: what is late arrives then, and what is dropped does not",
    Kind.TWICE: "fire one alone and trace the bus: two messages are the device's fault, two doorbells the driver's",
    Kind.EXTRA: "run it again: extra events that wander come from something else on these vectors (reserved_vectors)",
    Kind.LATE: "run it again with a longer --timeout, and with fewer slots: --slots 16",
    Kind.IGNORES_MASK: "is it the right bit? (SlotLayout.mask) Write it, read it back; else the device caches entries",
    Kind.NO_PENDING: "is it the right bit (SlotLayout.pending)? A device without one is declared with pending=None",
    Kind.IGNORES_PASID: "read the slot's PASID field back, and see that fire(slot, pasid=…) tags the work",
    Kind.DISTURBED: "do they share a register? (MessageLimits.one_address, SlotLayout) Else look at Driver.quiesce",
    Kind.NOT_WOKEN: "Driver.reset() must end with the domain's resync(), which wakes every owner",
}


def name_findings(first: SlotEvidence, second: SlotEvidence, slots: int, donors: int) -> list[Finding]:
    """Before the reset and after it, of ``slots`` tested over ``donors``."""
    findings = _of(first, slots, donors)
    known = {kind: {slot for each in findings if each.kind is kind for slot in each.slots} for kind in Kind}
    known[Kind.DEAD_AFTER_RESET] = known[Kind.DEAD]
    for finding in _of(second, slots, donors):
        if not finding.slots or not set(finding.slots) <= known[finding.kind]:
            findings.append(finding)
    findings += [*_drops(first, second, slots), *_echoes(first, second, slots)]
    return [replace(finding, hint=finding.hint or _NEXT.get(finding.kind, "")) for finding in findings]


def _of(evidence: SlotEvidence, slots: int, donors: int) -> list[Finding]:
    """What shows whenever it is looked at, and so in one section or in both."""
    when = " after a reset" if evidence.after_reset else ""
    aliases = _aliases(evidence, slots, donors)
    known = set(aliases) | set(aliases.values())
    findings = [*_name_aliases(aliases, when), *_name_strays(evidence, known, slots, when)]
    findings += _name_dead(evidence, known, slots, when)
    found_kinds: tuple[tuple[Kind, Collection[int], str, str], ...] = (
        (Kind.LATE, evidence.late, "delivers later than T", "deliver later than T"),
        (Kind.IGNORES_MASK, evidence.leaks, "ignores its mask", "ignore their masks"),
        (Kind.NO_PENDING, evidence.no_pending, "shows no pending bit", "show no pending bit"),
        (Kind.STUCK, evidence.stuck, "keeps its pending interrupt", "keep their pending interrupts"),
        (Kind.IGNORES_PASID, evidence.pasid_leaks, "is raised by another PASID", "are raised by another PASID"),
        (Kind.NOT_REPORTED, evidence.unreported, "refuses and does not say so", "refuse and do not say so"),
        (Kind.NOT_NAMED, evidence.unnamed, "is not named by fired()", "are not named by fired()"),
        (Kind.NOT_WOKEN, evidence.not_woken, "did not wake its owner", "did not wake their owners"),
    )
    hints = {
        Kind.STUCK: "it was fired masked, shows pending, was unmasked, and sent nothing",
        Kind.NOT_REPORTED: "work of another PASID raised nothing, but fire() did not report it as refused",
        Kind.NOT_NAMED: "the event came on the right donor; the driver's fired() must name the slot then",
    }
    for kind, found, one, many in found_kinds:
        if found:
            text = _phrase(found, slots, one, many) + when
            findings.append(Finding(kind, text, tuple(sorted(found)), hint=hints.get(kind, "")))
    return [*findings, *_name_disturbed(evidence, slots, when)]


def _name_disturbed(evidence: SlotEvidence, slots: int, when: str) -> list[Finding]:
    """Slots that fell silent when something was done to their neighbours."""
    findings = []
    for done in ("masked", "closed", "allocated"):
        found = sorted(slot for slot, (what, _) in evidence.disturbed.items() if what == done)
        if found:
            text = _phrase(found, slots, "falls silent", "fall silent") + f" when a neighbour is {done}{when}"
            wrong = [slot for slot in found if evidence.disturbed[slot][1]]
            if wrong:
                text += f": slot {wrong[0]} holds {evidence.disturbed[wrong[0]][1]}"
            findings.append(Finding(Kind.DISTURBED, text, tuple(found)))
    return findings


def _phrase(found: Iterable[int], slots: int, one: str, many: str) -> str:
    """``slot 3 ignores its mask``, ``slots 0-3 ignore their masks``."""
    name = name_slots(sorted(found), slots)
    return f"{name} {many if name.startswith('slots') else one}"


def _aliases(evidence: SlotEvidence, slots: int, donors: int) -> dict[int, int]:
    """The lower slot of each pair by the higher: from polled slots, entries read back and sequences of donors."""
    pairs = [*evidence.answers.items(), *evidence.holds.items()]
    for slot in evidence.misrouted_on:
        route = evidence.routes[slot]
        if donors > 1 and len(route) == pass_count(slots, donors):
            other = sum(place * donors**number for number, place in route.items())
            if other < slots and other != slot:
                pairs.append((slot, other))
    return {max(pair): min(pair) for pair in pairs}


def _name_aliases(aliases: dict[int, int], when: str) -> list[Finding]:
    """One finding for each distance between a slot and the one that it is."""
    findings = []
    for distance in sorted({high - low for high, low in aliases.items()}):
        found = [slot for slot, low in aliases.items() if slot - low == distance]
        text = _phrase(found, 0, "aliases", "alias") + f" {name_slots([slot - distance for slot in found])}{when}"
        hint = f"entries {distance} apart are one: an address line of the table, or the width of an index"
        findings.append(Finding(Kind.ALIAS, text, tuple(sorted(found)), hint=hint))
    return findings


def _name_strays(evidence: SlotEvidence, known: set[int], slots: int, when: str) -> list[Finding]:
    findings = []
    astray = sorted(slot for slot in evidence.misrouted_on if slot not in known)
    if astray:
        got, wanted = min(evidence.misrouted_on[astray[0]])
        text = _phrase(astray, slots, "is misrouted", "are misrouted")
        text += f"{when}: slot {astray[0]} raised vector {got} instead of {wanted}"
        findings.append(Finding(Kind.MISROUTED, text, tuple(astray)))
    for slot, others in sorted(evidence.besides.items()):
        text = f"slot {slot} raises vector {', '.join(map(str, sorted(others)))} as well{when}"
        findings.append(Finding(Kind.MISROUTED, text, (slot,)))
    vague = evidence.suspects - set(evidence.besides) - evidence.twice
    if vague:
        text = f"misrouted{when}: events on other vectors, not seen again, when {name_slots(sorted(vague))} fired"
        findings.append(Finding(Kind.MISROUTED, text, tuple(sorted(vague))))
    if evidence.strays:
        vectors = ", ".join(f"{count} on vector {vector}" for vector, count in sorted(evidence.strays.items()))
        findings.append(Finding(Kind.MISROUTED, f"misrouted{when}: events where nothing was fired: {vectors}"))
    return findings


def _name_dead(evidence: SlotEvidence, known: set[int], slots: int, when: str) -> list[Finding]:
    """Slots that never delivered, and entries that do not keep what is written."""
    findings, unkept = [], evidence.unkept
    silent = (evidence.dead | set(unkept) - evidence.worked) - known
    refused = sorted(silent & set(evidence.refusals))
    if refused:
        text = _phrase(refused, slots, "is refused", "are refused") + f"{when}: {evidence.refusals[refused[0]]}"
        findings.append(Finding(Kind.REFUSED, text, tuple(refused)))
    dead = sorted(silent - set(refused))
    if dead:
        text = _phrase(dead, slots, "is dead", "are dead") + when
        lost = [slot for slot in dead if slot in unkept]
        if lost:
            text += f": entries do not keep what is written (slot {lost[0]} holds {unkept[lost[0]]})"
        findings.append(Finding(Kind.DEAD_AFTER_RESET if when else Kind.DEAD, text, tuple(dead)))
    wrong = sorted(set(unkept) - silent - known)
    if wrong:
        text = _phrase(wrong, slots, "reads back wrongly", "read back wrongly")
        text += f"{when}: slot {wrong[0]} holds {unkept[wrong[0]]}"
        findings.append(Finding(Kind.NOT_KEPT, text, tuple(wrong)))
    return findings


def _drops(first: SlotEvidence, second: SlotEvidence, slots: int) -> list[Finding]:
    """Slots that lost messages and work otherwise."""
    losses = first.lost + second.lost
    for evidence in (first, second):
        spoken_for = evidence.excluded | evidence.unnamed | evidence.stuck
        for slot in spoken_for | set(evidence.refusals) | set(evidence.disturbed):
            losses.pop(slot, None)
    if not losses:
        return []
    fires = sum(first.sent.values()) + sum(second.sent.values())
    text = f"drops messages: {losses.total()} of {fires} lost, {name_slots(sorted(losses), slots)}"
    return [Finding(Kind.DROPS, text, tuple(sorted(losses)))]


def _echoes(first: SlotEvidence, second: SlotEvidence, slots: int) -> list[Finding]:
    """Slots that fire twice, or, where that could not be seen again, extra events and where."""
    echoes = first.echoes + second.echoes
    if not echoes:
        return []
    for slot in (*first.besides, *second.besides):  # what came beside was counted where it came
        echoes.pop(slot, None)
    twice, cleared = first.twice | second.twice, (first.cleared | second.cleared) - first.twice - second.twice
    if len(twice) > 4 * len(cleared):  # then those that were not fired alone are believed, too
        twice |= set(echoes) - cleared
    if twice:
        when = "" if first.echoes else " after a reset"
        return [Finding(Kind.TWICE, _phrase(twice, slots, "fires twice", "fire twice") + when, tuple(sorted(twice)))]
    extra, near = counted(echoes.total(), "extra event"), ", ".join(spans(echoes)[:8])
    text = f"{extra}, none when fired alone again; near slots {near}"
    return [Finding(Kind.EXTRA, text, tuple(sorted(echoes)))]
