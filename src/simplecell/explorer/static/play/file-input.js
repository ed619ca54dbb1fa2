/** A picture file that a person chooses, drops or pastes. */

import { h } from "../lib/dom.js";
import { t } from "../lib/words.js";
import { PictureError, readPicture } from "./pictures.js";

/** Takes files on the whole page; `element` has the button and says what was wrong. */
export class FileInput {
  /**
   * @param {HTMLElement} root where files may be dropped
   * @param {function(import("./pictures.js").Picture, boolean): void} given the second: is it a JPEG
   */
  constructor(root, given) {
    this.given = given;
    const input = h("input", {
      type: "file", id: "play-file", accept: "image/*", class: "hidden",
      on: { change: (event) => this.take(event.target.files) },
    });
    this.told = h("p", { class: "play-told", role: "alert" });
    this.element = h("div", { class: "play-file" },
      input, h("label", { for: "play-file", class: "button" }, t("play.file")),
      h("span", { class: "hint" }, t("play.file.hint")), this.told);
    this.paste = (event) => this.take(event.clipboardData?.files);
    document.addEventListener("paste", this.paste);
    root.addEventListener("dragover", (event) => event.preventDefault());
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      this.take(event.dataTransfer?.files);
    });
  }

  leave() {
    document.removeEventListener("paste", this.paste);
  }

  async take(files) {
    if (!files?.length) return;
    this.told.textContent = t("play.file.busy");
    try {
      const bytes = new Uint8Array(await files[0].arrayBuffer());
      const picture = await readPicture(bytes);
      this.told.textContent = "";
      this.given(picture, bytes[0] === 0xff && bytes[1] === 0xd8);
    } catch (error) {
      this.tell(error);
    }
  }

  /** Say what was wrong with a picture. */
  tell(error) {
    const known = error instanceof PictureError;
    this.told.textContent = known ? t(error.reason, error.values) : t("play.file.broken");
  }
}
