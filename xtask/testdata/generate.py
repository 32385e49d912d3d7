"""Writes 1,000 synthetic credentials as KeePass XML; README.md says how they became the CSV."""

import base64
import hashlib
import sys
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

GROUPS = [
    "", "Internet", "Internet/Forums", "Internet/Forums/Gardening", "Internet/Shops", "Email", "Work",
    "Work/Servers", "Work/Servers/Staging, EU", "Work/Databases", "Banking", "Haus & Garten", "Ключи", "鍵/合い鍵",
    "Say \"hello\"", "Slash\\back", "Recipes 🍲", "*",
]
TITLES = {
    10: "Grüße aus Köln", 20: "密码", 30: "comma, separated", 40: 'the "quoted" one', 50: "it's one",
    60: "next\u0085line", 70: "right\u202eleft", 80: "a/b/c", 90: "", 100: "🔑 emoji", 110: "=1+2", 120: " padded ",
    130: "star * and ?", 140: "back\\slash", 150: "Ελληνικά", 160: "e\u0301 combining",
}


def unique(number, kind):
    """Letters and digits that stand for a secret, and are visibly none."""
    return base64.b32encode(hashlib.sha256(f"{kind} {number}".encode()).digest()).decode()[:16]


def fields(number):
    title = TITLES.get(number, f"Site {number:04}")
    if number in (201, 202, 203):
        title = "Twice and thrice"
    password = f"synthetic-{unique(number, 'password').lower()}"
    if number % 97 == 0:
        password = f'with "quotes", commas, ünïcödé\\ and spaces {number}'
    notes = ""
    if number % 10 == 3:
        notes = f"Note {number}\nsecond line, with a comma\n\n\"third\" after an empty one"
    elif number % 10 == 7:
        notes = f"One line about {number}"
    found = {
        "Title": title,
        "UserName": "" if number % 13 == 0 else f"user{number}@example.invalid",
        "Password": "" if number % 29 == 0 else password,
        "URL": "" if number % 7 == 0 else f"https://site{number}.example.invalid/login?from=a&to=b",
        "Notes": notes,
    }
    if number % 50 == 25:
        found["otp"] = (f"otpauth://totp/Synthetic:user{number}?secret={unique(number, 'totp')}"
                        "&period=30&digits=6&issuer=Synthetic")
    return found


def time(number):
    return (datetime(2024, 1, 1) + timedelta(hours=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def uuid(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:16]).decode()


def entry(number):
    strings = "".join(f"<String><Key>{key}</Key><Value>{escape(value)}</Value></String>"
                      for key, value in fields(number).items())
    times = "".join(f"<{which}>{time(number)}</{which}>" for which in ("CreationTime", "LastModificationTime"))
    return f"<Entry><UUID>{uuid(f'entry {number}')}</UUID><Times>{times}</Times>{strings}</Entry>\n"


def group(path, name, numbers):
    inside = [g[len(path):].strip("/") for g in GROUPS if g != path and (g + "/").startswith(path + "/" if path else "")]
    below = sorted({g.split("/")[0] for g in inside})
    inner = "".join(entry(n) for n in numbers.get(path, []))
    inner += "".join(group(f"{path}/{child}" if path else child, child, numbers) for child in below)
    return f"<Group><UUID>{uuid(f'group {path}')}</UUID><Name>{escape(name)}</Name>{inner}</Group>\n"


def main():
    numbers = {}
    for number in range(1, 1001):
        # The three entries with one title share a group; the others are spread over all groups.
        place = "Internet/Forums" if number in (201, 202, 203) else GROUPS[number * 7 % len(GROUPS)]
        numbers.setdefault(place, []).append(number)
    sys.stdout.write('<?xml version="1.0" encoding="UTF-8"?>\n<KeePassFile><Meta><Generator>Stronghold</Generator></Meta><Root>\n')
    sys.stdout.write(group("", "Root", numbers))
    sys.stdout.write("</Root></KeePassFile>\n")


main()
