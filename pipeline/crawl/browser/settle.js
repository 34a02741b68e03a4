// Makes a page ready for a picture: hides elements, loads what is loaded only when it is seen, waits for images and fonts.
// Returns the area of the whole page in CSS pixels, or why the page is not complete. Only standard interfaces of pages.
async ({ hide, maxHeight, waitMs }) => {
  // PRELUDE
  const result = { width: 0, height: 0, problem: "", late: "", hidden: [], invalid: "" };
  for (const selector of hide) {
    try {
      result.hidden.push(all(selector).length);
    } catch {
      return { ...result, invalid: selector };
    }
  }
  const sheet = new CSSStyleSheet(); // not subject to the page's content security policy, as an element would be
  sheet.replaceSync(hide.map((selector) => `${selector} { display: none !important; }`).join("\n")
    + "\nhtml { scroll-behavior: auto !important; }");
  const sheets = Object.getOwnPropertyDescriptor(Document.prototype, "adoptedStyleSheets");
  sheets.set.call(document, [...sheets.get.call(document), sheet]);

  const end = performance.now() + waitMs;
  const frame = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); setTimeout(done, 100); });
  const images = () => [...getter(Document, "images")(document)];
  for (const image of images()) image.loading = "eager";
  const root = rootOf(document), body = getter(Document, "body")(document) ?? root;
  const bottom = Math.min(Math.max(root.scrollHeight, body.scrollHeight), maxHeight);
  for (let y = innerHeight; y < bottom && performance.now() < end; y += Math.max(200, innerHeight - 100)) {
    scrollTo(0, y);
    await frame();
  }
  scrollTo(0, 0);
  await frame();

  const shown = (image) => (image.currentSrc || image.src).slice(0, 2000);
  const loading = () => images().filter((image) => (image.currentSrc || image.getAttribute("src")) && !image.complete);
  while (loading().length && performance.now() < end) await new Promise((done) => setTimeout(done, 25));
  if (loading().length) return { ...result, problem: "image", late: shown(loading()[0]) };
  const fonts = await Promise.race([getter(Document, "fonts")(document).ready.then(() => true), new Promise((done) => setTimeout(done, Math.max(0, end - performance.now())))]);
  if (!fonts) return { ...result, problem: "font" };

  result.width = Math.max(root.clientWidth, 1);
  result.height = Math.max(root.scrollHeight, body.scrollHeight, 1);
  return result;
}
