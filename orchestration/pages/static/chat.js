// Streams a model's answer into /chat. Without this script the form sends itself and the whole answer comes at once.
// What a model says is only ever put in as text.
"use strict";

(() => {
  const say = document.getElementById("say"), controls = document.getElementById("controls");
  const conversation = document.getElementById("conversation"), prompt = document.getElementById("prompt");
  const send = document.getElementById("send"), stop = document.getElementById("stop");
  const trouble = document.getElementById("trouble");
  let going = null; // AbortController of the answer that is coming

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function turn(role, text) {
    const article = element("article", `turn ${role}`), said = element("p", "said", text);
    said.dir = "auto";
    article.append(element("h2", "", role), said);
    conversation.append(article);
    return { article, said };
  }

  function remember(role, content) {
    const field = element("input");
    field.type = "hidden";
    field.name = "turn";
    field.value = JSON.stringify({ role, content });
    say.append(field);
  }

  function query() {
    return new URLSearchParams(new FormData(controls)).toString();
  }

  function useControls() {
    history.replaceState(null, "", `/chat?${query()}`);
    say.action = `/chat?${query()}`;
  }

  function add(said, event) {
    const piece = element("span", "drawn", event.text);
    piece.tabIndex = 0;
    piece.title = piece.dataset.told = event.told;
    said.append(piece);
  }

  function addCall(article, call) {
    const name = call.name === null ? ", not in the form of one" : `: ${call.name}`;
    const box = element("div", "call");
    box.append(element("h3", "", `Tool call${name} (it was not run)`), element("pre", "", call.arguments));
    article.append(box);
  }

  async function* lines(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) yield JSON.parse(part);
    }
  }

  function complain(message) {
    trouble.textContent = message;
    trouble.hidden = !message;
  }

  async function answer() {
    const asked = new URLSearchParams(new FormData(say)), text = prompt.value;
    const chats = controls.elements.way.value === "chat";
    const question = turn("user", text), { article, said } = turn("assistant", "");
    said.classList.add("waiting");
    going = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    complain("");
    let raw = "", failed = false;
    try {
      const got = await fetch(`${say.dataset.stream}?${query()}`, { method: "POST", body: asked, signal: going.signal });
      const type = got.headers.get("content-type") || "";
      if (!got.ok || !type.startsWith("application/x-ndjson")) {
        throw new Error(`the pages answered with ${got.status}: check the controls, or load the page again`);
      }
      for await (const event of lines(got.body)) {
        if (event.event === "piece") {
          raw += event.raw;
          add(said, event);
        } else if (event.event === "done") {
          for (const call of event.calls) addCall(article, call);
          article.append(element("p", "quiet", event.note));
        } else {
          throw new Error(event.message);
        }
      }
    } catch (error) {
      if (error.name === "AbortError") {
        article.append(element("p", "quiet", "you stopped it"));
      } else {
        failed = true;
        complain(error.message);
      }
    }
    said.classList.remove("waiting");
    if (failed && !raw) {
      article.remove();
      question.article.remove();
    } else {
      if (chats) {
        remember("user", text);
        remember("assistant", raw);
      }
      prompt.value = "";
    }
    going = null;
    send.disabled = false;
    stop.hidden = true;
    prompt.focus();
  }

  for (const hidden of document.querySelectorAll('[data-live="hide"]')) hidden.hidden = true;
  controls.addEventListener("change", useControls);
  controls.addEventListener("submit", (event) => {
    event.preventDefault();
    useControls();
  });
  say.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!going && prompt.value.trim()) answer();
  });
  stop.addEventListener("click", () => going && going.abort());
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) say.requestSubmit();
    if (event.key === "Escape" && going) going.abort();
  });
  window.addEventListener("pagehide", () => going && going.abort());
})();
