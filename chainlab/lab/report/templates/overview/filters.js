// The filters of `chainlab list`: KEY, a sign and a value; any other word must stand in the run's name, note or tags.

const FORM = /^([^=!<>~]+)(>=|<=|!=|=|>|<|~)(.*)$/s;
const ORDER = { ">": (a, b) => a > b, ">=": (a, b) => a >= b, "<": (a, b) => a < b, "<=": (a, b) => a <= b };
const SPLITS = { test: 0, validation: 1, train: 3 };

const number = (text) => (String(text).trim() === "" || Number.isNaN(Number(text)) ? null : Number(text));

// The full key that a short one means: test results come before those of other splits.
const resolveKey = (key, keys) => {
  for (const full of [key, `config.${key}`, `metrics.${key}`]) if (keys.has(full)) return full;
  const end = "/" + key.replace(/^metrics\./, "");
  const rank = (full) => SPLITS[full.slice("metrics.".length).split("/")[0]] ?? 2;
  const found = [...keys].filter((full) => full.startsWith("metrics.") && full.endsWith(end));
  return found.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))[0] ?? null;
};

const condition = (word) => {
  const match = FORM.exec(word);
  if (!match) return { free: word.toLowerCase() };
  const [, key, sign, value] = match.map((part) => part.trim());
  const wanted = number(value);
  if (sign in ORDER && wanted === null) return { wrong: true };
  const glob = new RegExp(`^${value.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`, "s");
  const holds = (got) => {
    if (got === null || got === undefined) return false;
    if (sign === "~") return String(got).toLowerCase().includes(value.toLowerCase());
    const have = typeof got === "boolean" ? null : number(got);
    if (sign in ORDER) return have !== null && ORDER[sign](have, wanted);
    const same = wanted !== null && have !== null ? have === wanted : glob.test(String(got));
    return same === (sign === "=");
  };
  return { key, holds };
};

// A query as a test of runs, or null where it cannot be read. Quotes keep a value with spaces together.
const readQuery = (text) => {
  const words = (text.match(/(?:[^\s"]+|"[^"]*")+/g) ?? []).map((word) => word.replaceAll('"', ""));
  const conditions = words.map(condition);
  if (conditions.some((each) => each.wrong)) return null;
  return (run) =>
    conditions.every((each) => {
      if (each.free !== undefined) return run.words.includes(each.free);
      const key = resolveKey(each.key, run.keys);
      return key !== null && each.holds(run.get(key));
    });
};
