import {html, useEffect, useRef} from './vendor/htm-preact.js';
import {rate} from './ui.js';

const height = 180;

const span = 15 * 60; // seconds

// color is read each time that something is drawn: it changes with the system's scheme.
const color = name => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const clock = (at, digits) => new Date(at * 1000).toLocaleTimeString('sv').slice(0, digits);

// Chart draws lines over the last 15 minutes. data has the times, then the numbers of each of the series.
export function Chart({title, series, data}) {
  const place = useRef(null), plot = useRef(null);
  useEffect(() => {
    const axis = {stroke: color('--muted'), grid: {stroke: color('--line'), width: 1}, ticks: {show: false}};
    const width = () => place.current.clientWidth;
    plot.current = new uPlot({
      width: width(), height, cursor: {y: false, drag: {x: false, y: false}},
      scales: {
        x: {range: (_, low, high) => { const end = Math.max(high ?? 0, Date.now() / 1000); return [end - span, end]; }},
        y: {range: (_, low, high) => [0, Math.max(1, high * 1.1)]},
      },
      axes: [{...axis, values: (_, moments) => moments.map(at => clock(at, 5)), incrs: [60, 180, 300], size: 28},
        {...axis, size: 56}],
      series: [{label: 'Time', value: (_, at) => at ? clock(at, 8) : ''}, ...series.map(s => ({
        label: s.label, stroke: color(s.color), width: 2, points: {show: false},
        value: (_, value) => value === null || value === undefined ? '' : rate(value),
      }))],
    }, data, place.current);
    const resize = new ResizeObserver(() => plot.current.setSize({width: width(), height}));
    resize.observe(place.current);
    return () => { resize.disconnect(); plot.current.destroy(); };
  }, []);
  useEffect(() => plot.current?.setData(data));
  return html`<div class="chart" ref=${place} role="img" aria-label=${title}></div>`;
}
