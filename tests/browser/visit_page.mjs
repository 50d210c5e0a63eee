// Opens a page in headless Chromium, does to it what a reader would, and prints what happened as JSON.
//
//   node visit_page.mjs MODULES CHROMIUM PAGE TABLE [SCREENSHOTS]
//
// MODULES: folder with node_modules. TABLE: id of the one that is sorted and filtered. SCREENSHOTS:
// folder for pictures of the page; none without it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, executablePath, page_file, table, screenshots] = process.argv.slice(2);
const require = createRequire(join(resolve(modules), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const url = pathToFileURL(resolve(page_file)).href;

const VIEWS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true },
  "phone dark": { colorScheme: "dark", viewport: { width: 390, height: 844 }, isMobile: true },
};

async function open(browser, view) {
  const context = await browser.newContext(view);
  const page = await context.newPage();
  const seen = { errors: [], requests: [] };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.errors.push(message.text());
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith("data:") && request.url() !== url) seen.requests.push(request.url());
  });
  await page.goto(url, { waitUntil: "load" });
  return { page, seen };
}

const violations = (page) =>
  page.evaluate(async (source) => {
    new Function(source)();
    const found = await window.axe.run(document, { resultTypes: ["violations"] });
    return found.violations.map(({ id, impact, nodes }) => ({
      id,
      impact,
      nodes: nodes.slice(0, 5).map((node) => `${node.html.slice(0, 200)}: ${node.failureSummary}`),
    }));
  }, axe);

// What stands in a column of the shown rows: what it sorts by, in order.
const column = (page, index) =>
  page.$$eval(
    `#${table} tbody tr:not([hidden])`,
    (rows, at) =>
      rows.map(({ cells }) => cells[at].dataset.sort ?? cells[at].textContent.trim()),
    index,
  );

async function sorts(page) {
  const heads = page.locator(`#${table} thead th`);
  const columns = [];
  for (let index = 0; index < (await heads.count()); index += 1) {
    const head = heads.nth(index);
    const orders = {};
    for (let time = 0; time < 2; time += 1) {
      await head.getByRole("button").click();
      orders[await head.getAttribute("aria-sort")] = await column(page, index);
    }
    columns.push({ heading: (await head.textContent()).trim(), ...orders });
  }
  return columns;
}

async function filters(page) {
  const group = page.locator(`.filters[data-for="${table}"]`);
  const text = group.getByRole("searchbox");
  const names = () =>
    page.$$eval(`#${table} tbody tr:not([hidden])`, (rows) => rows.map((row) => row.innerText));
  const found = { all: (await names()).length };
  const word = (await page.locator(`#${table} tbody th`).first().textContent()).trim();
  await text.fill(word.toUpperCase());
  found.word = { word, rows: await names(), says: await group.locator("output").textContent() };
  await text.fill("there is no such row");
  found.none = (await names()).length;
  await text.fill("");
  const menu = group.getByRole("combobox").first();
  if (await menu.count()) {
    const choice = (await menu.locator("option").last().textContent()).trim();
    await menu.selectOption(choice);
    found.menu = { choice, rows: await names() };
    await menu.selectOption("");
  }
  found.cleared = (await names()).length;
  return found;
}

async function keyboard(page) {
  const focused = () =>
    page.evaluate((id) => {
      const head = document.activeElement.closest(`#${id} thead th`);
      return head ? head.cellIndex : -1;
    }, table);
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.className);
  for (let steps = 0; steps < 200 && (await focused()) < 0; steps += 1) {
    await page.keyboard.press("Tab");
  }
  const index = await focused();
  if (index < 0) return { first, reached: false };
  await page.keyboard.press("Enter");
  const head = page.locator(`#${table} thead th`).nth(index);
  return { first, reached: true, sorted: await head.getAttribute("aria-sort") };
}

// Where the top of a section stands after its link was followed, as a share of the window's height.
async function jumps(page) {
  const tops = {};
  for (const link of await page.locator("nav a").all()) {
    await link.click();
    tops[(await link.getAttribute("href")).slice(1)] = await page.evaluate(async () => {
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 1;
      return atEnd ? 0 : document.querySelector(":target").getBoundingClientRect().top / innerHeight;
    });
  }
  return tops;
}

async function enlarges(page) {
  const buttons = page.locator("button.enlarge");
  if (!(await buttons.count())) return null;
  const dialog = page.locator("dialog");
  await buttons.first().focus();
  await page.keyboard.press("Enter");
  const opened = await dialog.isVisible();
  const broken = (await violations(page)).filter(({ impact }) => impact !== "minor");
  await page.keyboard.press("Escape");
  return { opened, closed: !(await dialog.isVisible()), violations: broken };
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const facts = { views: {} };
  for (const [name, view] of Object.entries(VIEWS)) {
    const { page, seen } = await open(browser, view);
    facts.views[name] = {
      ...seen,
      violations: await violations(page),
      // A page that is wider than the screen makes its reader scroll both ways.
      overflow: await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      ),
    };
    if (screenshots) {
      const path = join(screenshots, `${name.replace(" ", "_")}.png`);
      await page.screenshot({ path, fullPage: true });
    }
    await page.context().close();
  }

  const { page, seen } = await open(browser, { ...VIEWS.light, reducedMotion: "reduce" });
  facts.sections = await page.$$eval("main section", (all) => all.map(({ id }) => id));
  facts.links = await page.$$eval("nav a", (all) => all.map((link) => link.hash.slice(1)));
  facts.load_ms = await page.evaluate(
    () => performance.getEntriesByType("navigation")[0].loadEventEnd,
  );
  facts.keyboard = await keyboard(page);
  facts.sorts = await sorts(page);
  facts.filters = await filters(page);
  facts.enlarges = await enlarges(page);
  facts.jumps = await jumps(page);
  Object.assign(facts, seen);

  const plain = await browser.newContext({ javaScriptEnabled: false });
  const unscripted = await plain.newPage();
  await unscripted.goto(url);
  facts.unscripted = await unscripted.locator(`#${table} tbody tr`).count();
  console.log(JSON.stringify(facts));
} finally {
  await browser.close();
}
