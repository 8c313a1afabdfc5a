// Asks for the token, where the daemon wants one.

import { h } from "./dom.js";
import { t } from "./i18n.js";

/** Gives what the person typed. `wrong`: the last one was refused. */
export function askToken(wrong) {
  return new Promise((give) => {
    const field = h("input", { id: "token", type: "password", autocomplete: "off", required: true, "aria-describedby": wrong ? "wrong" : null });
    const form = h("form", { onsubmit: (event) => {
      event.preventDefault();
      const given = field.value.trim();
      if (!given) return;
      dialog.remove();
      give(given);
    } },
      h("h2", { id: "door" }, t("door.title")),
      h("p", {}, t("door.text")),
      wrong ? h("p", { class: "wrong", id: "wrong", role: "alert" }, t("door.wrong")) : null,
      h("label", { for: "token" }, t("door.label")),
      h("div", { class: "row" }, field, h("button", { type: "submit" }, t("door.enter"))));
    const dialog = h("dialog", { class: "card door", "aria-labelledby": "door", oncancel: (event) => event.preventDefault() }, form);
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
}
