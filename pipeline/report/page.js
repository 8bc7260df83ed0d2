// Each form of class "tools" filters the items of one list: by words in their text, and by one chosen value.
for (const form of document.querySelectorAll("form.tools")) {
  const items = [...document.querySelectorAll(`#${form.dataset.list} [data-words]`)];
  const [words, choice, said] = ["input", "select", "output"].map((name) => form.querySelector(name));
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const item of items) {
      const text = item.dataset.words.toLowerCase();
      const fits = wanted.every((word) => text.includes(word)) && (!choice.value || item.dataset.kind === choice.value);
      item.hidden = !fits;
      left += fits;
    }
    said.textContent = left === items.length ? "" : `${left} of ${items.length} ${form.dataset.items}`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", apply);
  form.hidden = false;
  apply();
}
