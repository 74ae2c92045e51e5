// What may not stand in a page of ours, whatever was crawled: asked of the document as the browser built it.
() => {
  const found = [];
  if (window.hit !== undefined) found.push("window.hit is set");
  const ours = /^(\/(?!\/)|#|\?|https?:\/\/127\.0\.0\.1|data:image\/|mailto:)/;
  for (const element of document.querySelectorAll("*")) {
    const name = element.tagName.toLowerCase();
    if (["iframe", "object", "embed", "base", "style", "template", "math", "animate", "audio", "video"].includes(name))
      found.push(`<${name}>`);
    if (name === "script" && !(element.getAttribute("src") || "").startsWith("/static/")) found.push("a script of its own");
    if (name === "meta" && element.httpEquiv) found.push(`meta ${element.httpEquiv}`);
    for (const {name: attribute, value} of element.attributes) {
      if (/^on/i.test(attribute) || /^(hx|data-hx)-on/i.test(attribute)) found.push(`${name} ${attribute}`);
      if (attribute === "style" || attribute === "srcdoc") found.push(`${name} ${attribute}`);
      const leads = ["href", "src", "action", "formaction", "xlink:href", "hx-get", "hx-post"].includes(attribute);
      if (leads && !ours.test(value) && !(attribute === "href" && element.rel.includes("noopener") && /^https?:/.test(value)))
        found.push(`${name} ${attribute}=${value.slice(0, 60)}`);
    }
  }
  return found;
}
