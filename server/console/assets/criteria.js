// Criteria in the URL: each parameter c is one criterion, its tags written as a query string.
export const fromURL = query => query.getAll('c').map(text =>
  [...new URLSearchParams(text)].map(([key, value]) => ({key, value})));

export const toURL = (query, criteria) => {
  query.delete('c');
  for (const tags of criteria) query.append('c', new URLSearchParams(tags.map(t => [t.key, t.value])).toString());
};

export const request = criteria => criteria.length > 0 ? {criteria: criteria.map(tags => ({tags}))} : undefined;

// parse reads what is typed: "type:UserRegistered" or "key=value"; null if it is neither.
export function parse(text) {
  const found = /^\s*(?:type\s*:\s*(.+?)|([^=]+?)\s*=\s*(.*?))\s*$/.exec(text);
  if (!found) return null;
  return found[1] ? {key: 'event_type', value: found[1]} : {key: found[2], value: found[3]};
}

export const label = tag => tag.key === 'event_type' ? `type: ${tag.value}` : `${tag.key} = ${tag.value}`;
