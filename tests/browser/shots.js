// Pictures of the page for people to judge: node shots.js FOLDER
import { endScene, scene } from "./scene.js";
import { Browser } from "./world.js";

const folder = process.argv[2];
const [place, browser] = [await scene(), await Browser.open()];
try {
  for (const theme of ["light", "dark"]) {
    for (const [width, height] of [[1440, 860], [360, 800]]) {
      for (const [name, path] of [["all", "/"], ["indexer", "/agents/indexer?range=15m"], ["reviewer", "/agents/reviewer"]]) {
        const page = await browser.page(place.url + path, { width, height, theme });
        await page.waitForTimeout(2500);
        await page.screenshot({ path: `${folder}/${name}-${theme}-${width}.png`, fullPage: name !== "all" || width < 500 });
        if (page.faults.length > 0) console.log(name, theme, width, page.faults);
        await page.context().close();
      }
    }
  }
} finally {
  await browser.close();
  await endScene(place);
}
