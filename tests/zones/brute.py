#!/usr/bin/env python3
"""When cron expressions are due in zones that change their clocks in every odd way, worked out from the rule.

    python3 brute.py > slots.txt

It walks over time from hour to hour, and minute by minute where an offset changes, and notes what the clocks
of a zone show. Then the rule is applied as it is worded:

  An expression whose hour field is every hour is due at every moment whose local time matches. Any other is due
  once for each local time that matches: at the first moment that shows it or, if none does, at the first
  moment after the gap.

It shares nothing with the library: expressions are sets of minutes and conditions on days, written by hand. The
zones come from the package `tzdata` in the version of requirements.txt, never from the system.
"""

import bisect
import calendar
import datetime
import zoneinfo

import tzdata

VERSION = "2025b"
ZONES = [
    "UTC",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "Antarctica/Troll",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
]


def every(date):
    return True


def is_last_of_month(date):
    return date.day == calendar.monthrange(date.year, date.month)[1]


def is_last_sunday(date):
    return date.weekday() == 6 and (date + datetime.timedelta(7)).month != date.month


def is_sunday_in(months):
    return lambda date: date.weekday() == 6 and date.month in months


def times(hours, minutes):
    return [hour * 60 + minute for hour in hours for minute in minutes]


DAY = range(24)
ALL = (1996, 2041)
# Text, the years up to which one, whether it keeps pace, the minutes of a day, and which days.
EXPRESSIONS = [
    ("*/30 * * * *", (2011, 2013), True, times(DAY, [0, 30]), every),
    ("15 * * * *", (2010, 2013), True, times(DAY, [15]), every),
    ("59 0-11,12-23 ? 3,10 SUN", ALL, True, times(DAY, [59]), is_sunday_in([3, 10])),
    ("30 2 * * *", ALL, False, times([2], [30]), every),
    ("0 0 * * *", ALL, False, times([0], [0]), every),
    ("0 3 * * 0", ALL, False, times([3], [0]), is_sunday_in(range(1, 13))),
    ("0 0 1 * *", ALL, False, times([0], [0]), lambda date: date.day == 1),
    ("15,45 1-3 * * *", (2006, 2016), False, times([1, 2, 3], [15, 45]), every),
    ("0 */2 * * *", (2009, 2015), False, times(range(0, 24, 2), [0]), every),
    ("30 0 13 * 5", ALL, False, times([0], [30]), lambda date: date.day == 13 or date.weekday() == 4),
    ("0 12 L * *", ALL, False, times([12], [0]), is_last_of_month),
    ("10 2 * * 0L", ALL, False, times([2], [10]), is_last_sunday),
    ("59 23 31 12 *", ALL, False, times([23], [59]), lambda date: (date.month, date.day) == (12, 31)),
    ("45 23 30,31 12 *", ALL, False, times([23], [45]), lambda date: date.month == 12 and date.day >= 30),
]

EPOCH = datetime.date(1970, 1, 1)


def minutes_of(date):
    return (date - EPOCH).days * 1440


FIRST, END = (datetime.date(year, 1, 1) for year in ALL)
# Local time begins before UTC in some zones, and ends after it in others.
MARGIN = datetime.timedelta(3)
ORIGIN = minutes_of(FIRST - MARGIN)
LENGTH = minutes_of(END + MARGIN) - ORIGIN


def matching(minutes, is_day):
    """For each local minute from ORIGIN on, whether it matches."""
    found = bytearray(LENGTH)
    date = FIRST - MARGIN
    while date < END + MARGIN:
        if is_day(date):
            midnight = minutes_of(date) - ORIGIN
            for minute in minutes:
                found[midnight + minute] = 1
        date += datetime.timedelta(1)
    return found


def offset_at(zone, minute):
    """How many minutes clocks are ahead of UTC."""
    moment = datetime.datetime.fromtimestamp(minute * 60, zone)
    seconds = moment.utcoffset().total_seconds()
    assert seconds % 60 == 0, (zone, moment)
    return int(seconds) // 60


def stretches(zone):
    """Spans of UTC minutes with one offset, as (first, end, offset)."""
    first, end = ORIGIN + 1440, ORIGIN + LENGTH - 1440
    found, begin, offset = [], first, offset_at(zone, first)
    for hour in range(first, end, 60):
        if offset_at(zone, hour + 60) == offset:
            continue
        for minute in range(hour + 1, hour + 61):
            new = offset_at(zone, minute)
            if new != offset:
                found.append((begin, minute, offset))
                begin, offset = minute, new
    found.append((begin, end, offset))
    return found


def matches_between(match, first, end):
    """The local minutes that match, from one up to another."""
    at = match.find(1, first - ORIGIN, end - ORIGIN)
    while at >= 0:
        yield at + ORIGIN
        at = match.find(1, at + 1, end - ORIGIN)


def in_pace(match, spans):
    slots = set()
    for first, end, offset in spans:
        for local in matches_between(match, first + offset, end + offset):
            slots.add(local - offset)
    return slots


def once(match, spans):
    slots = set()
    shown = bytearray(LENGTH)
    before = None
    for first, end, offset in spans:
        if before is not None:
            # What clocks jump over, and have not shown before.
            skipped = matches_between(match, first + before, first + offset)
            if any(not shown[local - ORIGIN] for local in skipped):
                slots.add(first)
        for local in matches_between(match, first + offset, end + offset):
            if not shown[local - ORIGIN]:
                slots.add(local - offset)
        here = slice(first + offset - ORIGIN, end + offset - ORIGIN)
        shown[here] = b"\1" * (end - first)
        before = offset
    return slots


def digest(slots):
    """FNV-1a over the milliseconds since 1970, a word of 64 bits each."""
    value = 0xCBF29CE484222325
    for minute in slots:
        value = ((value ^ (minute * 60_000)) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


NEAR = 36 * 60


def near(slots, change):
    """The slots from 36 h before a change to 36 h after it: distances in minutes, `30x4` for four of 30."""
    first, end = change - NEAR, change + NEAR
    runs, last = [], first
    for slot in slots[bisect.bisect_left(slots, first) : bisect.bisect_left(slots, end)]:
        if runs and runs[-1][0] == slot - last:
            runs[-1][1] += 1
        else:
            runs.append([slot - last, 1])
        last = slot
    return " ".join(str(step) if count == 1 else f"{step}x{count}" for step, count in runs) or "-"


def main():
    assert tzdata.IANA_VERSION == VERSION, f"tzdata {tzdata.IANA_VERSION}, not {VERSION}"
    zoneinfo.reset_tzpath(to=[])
    print("# Made by brute.py: when each expression is due in these years of UTC.")
    print(f"# tzdata {VERSION}")
    matches = [matching(minutes, is_day) for *_, minutes, is_day in EXPRESSIONS]
    for name in ZONES:
        spans = stretches(zoneinfo.ZoneInfo(name))
        changes = [begin for begin, _, _ in spans[1:]]
        print("zone", name)
        print("changes", *changes)
        for (text, years, keeps_pace, *_), match in zip(EXPRESSIONS, matches):
            first, end = (minutes_of(datetime.date(year, 1, 1)) for year in years)
            slots = in_pace(match, spans) if keeps_pace else once(match, spans)
            slots = sorted(slot for slot in slots if first <= slot < end)
            print("cron", text)
            print("years", *years)
            print("slots", len(slots), f"{digest(slots):016x}")
            for change in changes:
                if first + NEAR <= change < end - NEAR:
                    print("near", near(slots, change))


if __name__ == "__main__":
    main()
