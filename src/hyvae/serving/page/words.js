// How titles and numbers are written.

const YEAR = /^(.*\S)\s*\((\d{4})(?:[-–]\d{0,4})?\)\s*$/;
// catalogues sort "The Matrix" under M
const ARTICLE = /^(.+), (The|An?|Les?|La|L'|Il|El|Los|Las|De[rn]|Die|Das)((?: \(.*\))?)$/;

// A title as people say it, and its year apart: "Matrix, The (1999)" is ["The Matrix", "1999"].
export function nameAndYear(title) {
  const [, name, year] = YEAR.exec(title) ?? [null, title, ""];
  const [, rest, article, more] = ARTICLE.exec(name) ?? [null, name, "", ""];
  const space = article && !article.endsWith("'") ? " " : "";
  return [`${article}${space}${rest}${more}`, year];
}

export function spoken(title) {
  const [name, year] = nameAndYear(title);
  return year ? `${name} (${year})` : name;
}

// The name as lists have room for it: the other names of a film, in brackets behind it, are left out.
export function brief(title) {
  const [name, year] = nameAndYear(title);
  return [year ? name.replace(/(\S)(?: \([^()]*\))+$/, "$1") : name, year];
}

// "films" where titles end in years, as those of films do
export function nounFor(titles) {
  const dated = titles.filter((title) => YEAR.test(title)).length;
  return 2 * dated > titles.length ? { one: "film", many: "films" } : { one: "item", many: "items" };
}

export const decimal = (value, digits = 1) => value.toFixed(digits);
export const short = (value) => String(Number(value.toFixed(2)));
export const count = (value) => value.toLocaleString("en");
export const percent = (share) => (share > 0 && share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`);

// With a real minus, and without a sign where it rounds to nothing.
export function signed(value, digits = 2) {
  const size = Math.abs(value).toFixed(digits);
  if (Number(size) === 0) return size;
  return (value < 0 ? "−" : "+") + size;
}
