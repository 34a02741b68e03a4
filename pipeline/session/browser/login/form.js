// Finds the controls of a login form as people see them: by name, id, autocomplete, label or placeholder. Also in open shadow roots.
// Returns {fields, known, kinds, inForm, submit}; see login_form.py.
({names, form, login, other}) => {
  const LOGIN = new RegExp(login, "iu"), OTHER = new RegExp(other, "iu");
  const ELSEWHERE = /google|github|gitlab|facebook|apple|microsoft|twitter|linkedin|sso|saml|passkey|openid/i;
  const shown = text => (text || "").replace(/\s+/g, " ").replace(/[\s*:：]+$/, "").trim();
  const clean = text => shown(text).toLowerCase();
  const all = (root, css) => {
    const found = [...root.querySelectorAll(css)];
    for (const element of root.querySelectorAll("*")) if (element.shadowRoot) found.push(...all(element.shadowRoot, css));
    return found;
  };
  const up = element => element.parentElement || (element.getRootNode() instanceof ShadowRoot ? element.getRootNode().host : null);
  const seen = element => element.getClientRects().length > 0 && getComputedStyle(element).visibility !== "hidden";
  const labelsOf = element => {
    const root = element.getRootNode();
    const named = (element.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean).map(id => root.getElementById(id));
    return [...(element.labels || []), ...named].filter(Boolean).map(label => shown(label.textContent)).concat(shown(element.getAttribute("aria-label"))).filter(Boolean);
  };
  const rank = (element, name) => {
    if (element.name === name || element.getAttribute("name") === name) return 6;
    if (element.id === name) return 5;
    if ((element.getAttribute("autocomplete") || "").split(/\s+/).includes(name)) return 4;
    const wanted = clean(name);
    if (labelsOf(element).some(label => clean(label) === wanted)) return 3;
    if (clean(element.getAttribute("placeholder")) === wanted) return 2;
    return 0;
  };
  const CONTROLS = "input:not([type=submit]):not([type=button]):not([type=image]):not([type=reset]), select, textarea, [contenteditable=''], [contenteditable=true]";
  const BUTTONS = "button, input[type=submit], input[type=image], input[type=button], [role=button]";
  const ownerOf = element => {
    if (element.form) return element.form;
    for (let at = element; at; at = up(at)) if (at.tagName === "FORM" || at.getAttribute("role") === "form") return at;
    return null;
  };
  let root = document, chosen = null;
  if (form) {
    chosen = all(document, form)[0] || null;
    if (!chosen) return {fields: [], known: [], kinds: [], inForm: false, submit: null};
    if (!chosen.matches(BUTTONS)) root = ownerOf(chosen) || chosen;
    else if (names.length) root = ownerOf(chosen) || document;
  }
  const controls = all(root, CONTROLS).concat(root.elements ? [...root.elements].filter(element => element.matches(CONTROLS)) : []);
  const best = (name, among) => among.map(element => [(rank(element, name) && 1) * (rank(element, name) + (seen(element) ? 10 : 0)), element])
    .reduce((one, two) => two[0] > one[0] ? two : one, [0, null])[1];
  const groups = new Map();
  for (const element of controls) {
    const owner = ownerOf(element);
    if (!groups.has(owner)) groups.set(owner, []);
    groups.get(owner).push(element);
  }
  const textOf = element => element.value && element.tagName === "INPUT" ? element.value : `${element.textContent} ${element.getAttribute("aria-label") || ""} ${element.title || ""}`;
  const buttonsOf = place => all(place, BUTTONS).concat(place.elements ? [...place.elements].filter(element => element.matches(BUTTONS)) : []).filter(seen);
  const worth = button => {
    const text = textOf(button), type = button.getAttribute("type");
    return (type === "submit" || type === "image" || (button.tagName === "BUTTON" && !type && button.form) ? 2 : 0)
      + (LOGIN.test(text) || /next|continue|weiter|submit|verify|confirm|suivant|siguiente|下一步|继续|提交|确认/i.test(text) ? 3 : 0) - (OTHER.test(text) ? 4 : 0) - (ELSEWHERE.test(text) ? 4 : 0);
  };
  const likeness = among => {
    const passwords = among.filter(element => element.type === "password" && seen(element));
    const owner = among.length ? ownerOf(among[0]) : null;
    const buttons = owner ? buttonsOf(owner).map(worth) : [];
    return (passwords.length === 1 ? 3 : passwords.length ? -3 : 0) + Math.max(0, ...buttons);
  };
  let group = controls, score = [-1, -1, -1];
  for (const among of groups.values()) {
    const found = names.map(name => best(name, among)).filter(Boolean);
    const now = [found.filter(seen).length, found.length, likeness(among)];
    if (now[0] > score[0] || (now[0] === score[0] && (now[1] > score[1] || (now[1] === score[1] && now[2] > score[2])))) [group, score] = [among, now];
  }
  const fields = names.map(name => best(name, group) || best(name, controls) || (form ? null : best(name, all(document, BUTTONS).filter(button => button.name === name))));
  const last = fields.filter(Boolean).filter(seen).pop();
  let submit = null;
  if (chosen && chosen.matches(BUTTONS)) submit = chosen;
  else {
    const owner = last ? ownerOf(last) : (chosen && ownerOf(chosen)) || chosen;
    const pick = place => buttonsOf(place).map(button => [worth(button), button]).filter(each => each[0] > -2)
      .reduce((one, two) => !one || two[0] > one[0] ? two : one, null);
    let found = owner ? pick(owner) : null;
    for (let at = last && !owner ? up(last) : null; at && !found; at = up(at)) found = pick(at);
    submit = found && found[1];
  }
  const kindOf = element => !element ? "" : element.tagName === "SELECT" ? "select" : element.matches(BUTTONS) ? "button" : !seen(element) && element.type !== "checkbox" && element.type !== "radio"
    ? (element.type === "hidden" ? "hidden" : "unseen") : element.type === "checkbox" || element.type === "radio" ? element.type
    : element.maxLength === 1 ? "digit" : "text";
  const known = [...new Set(controls.filter(element => element.type !== "hidden").map(element => element.name || element.id || element.getAttribute("autocomplete") || labelsOf(element)[0] || element.placeholder).filter(Boolean))];
  return {fields, known, kinds: fields.map(kindOf), submit, action: (last && ownerOf(last) && ownerOf(last).tagName === "FORM" && ownerOf(last).getAttribute("action")) || ""};
}
