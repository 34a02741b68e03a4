// Makes a page ready for a picture: hides elements, loads what is loaded only when it is seen, waits for images and fonts.
// Returns the area of the picture in CSS pixels, or why the page is not complete. Only standard interfaces of pages.
async ({ hide, part, maxHeight, waitMs }) => {
  const result = { x: 0, y: 0, width: 0, height: 0, problem: "", late: "", hidden: [], invalid: "" };
  for (const selector of hide) {
    try {
      result.hidden.push(document.querySelectorAll(selector).length);
    } catch {
      return { ...result, invalid: selector };
    }
  }
  const sheet = new CSSStyleSheet(); // not subject to the page's content security policy, as an element would be
  sheet.replaceSync(hide.map((selector) => `${selector} { display: none !important; }`).join("\n")
    + "\nhtml { scroll-behavior: auto !important; }");
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

  const end = performance.now() + waitMs;
  const frame = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); setTimeout(done, 100); });
  for (const image of document.images) image.loading = "eager";
  const root = document.documentElement;
  const bottom = Math.min(Math.max(root.scrollHeight, document.body?.scrollHeight ?? 0), maxHeight);
  for (let y = innerHeight; y < bottom && performance.now() < end; y += Math.max(200, innerHeight - 100)) {
    scrollTo(0, y);
    await frame();
  }
  scrollTo(0, 0);
  await frame();

  const shown = (image) => (image.currentSrc || image.src).slice(0, 2000);
  const loading = () => [...document.images].filter((image) => (image.currentSrc || image.getAttribute("src")) && !image.complete);
  while (loading().length && performance.now() < end) await new Promise((done) => setTimeout(done, 25));
  if (loading().length) return { ...result, problem: "image", late: shown(loading()[0]) };
  const fonts = await Promise.race([document.fonts.ready.then(() => true), new Promise((done) => setTimeout(done, Math.max(0, end - performance.now())))]);
  if (!fonts) return { ...result, problem: "font" };

  if (part === null) {
    const body = document.body ?? root;
    result.width = Math.max(root.clientWidth, 1);
    result.height = Math.max(root.scrollHeight, body.scrollHeight, 1);
    return result;
  }
  const boxes = part.map((element) => element.getBoundingClientRect()).filter((box) => box.width >= 1 && box.height >= 1);
  if (!boxes.length) return { ...result, problem: part.length ? "hidden" : "missing" };
  result.x = Math.max(0, Math.floor(Math.min(...boxes.map((box) => box.left)) + scrollX));
  result.y = Math.max(0, Math.floor(Math.min(...boxes.map((box) => box.top)) + scrollY));
  result.width = Math.ceil(Math.max(...boxes.map((box) => box.right)) + scrollX) - result.x;
  result.height = Math.ceil(Math.max(...boxes.map((box) => box.bottom)) + scrollY) - result.y;
  return result;
}
