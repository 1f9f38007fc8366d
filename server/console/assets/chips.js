import {html, useState} from './vendor/htm-preact.js';
import {label, parse} from './criteria.js';

// Chips edits criteria: tags of a group must all match, and one of the groups must.
export function Chips({criteria, onChange}) {
  const [text, setText] = useState('');
  const [wrong, setWrong] = useState(false);
  const add = alternative => {
    const tag = parse(text);
    setWrong(!tag);
    if (!tag) return;
    setText('');
    const last = criteria[criteria.length - 1];
    onChange(alternative || !last ? [...criteria, [tag]] : [...criteria.slice(0, -1), [...last, tag]]);
  };
  const remove = (group, tag) => onChange(criteria
    .map((tags, i) => i === group ? tags.filter((_, j) => j !== tag) : tags).filter(tags => tags.length > 0));
  const submit = event => { event.preventDefault(); add(event.submitter?.name === 'or'); };
  return html`<form class="filter" role="search" onSubmit=${submit}>
    ${criteria.map((tags, group) => html`${group > 0 && html`<span class="or">or</span>`}<span class="group">
      ${tags.map((tag, i) => html`<button type="button" class="chip" onClick=${() => remove(group, i)}
        aria-label=${'Remove ' + label(tag)}>${label(tag)} <span aria-hidden="true">✕</span></button>`)}</span>`)}
    <input type="search" name="tag" value=${text} aria-invalid=${wrong}
      onInput=${e => setText(e.target.value)}
      aria-label="Filter: type:NAME or key=value" placeholder="type:UserRegistered or key=value" />
    <button name="and">${criteria.length > 0 ? 'And' : 'Filter'}</button>
    ${criteria.length > 0 && html`<button name="or">Or</button>`}
    ${wrong && html`<p class="problem" role="alert">Write type:NAME or key=value.</p>`}
  </form>`;
}
