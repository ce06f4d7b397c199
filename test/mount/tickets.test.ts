import test from 'ava';
import { Tickets } from '../../src/mount/tickets.js';

test('a change voids every answer on its way, what is forgotten only those about itself', t => {
  const tickets = new Tickets();
  const first = tickets.take();
  tickets.noteForgotten('a');
  t.false(tickets.isGood(first, 'a'));
  t.true(tickets.isGood(first, 'b'));
  const second = tickets.take();
  t.true(tickets.isGood(second, 'a'));

  tickets.noteChange();

  t.false(tickets.isGood(second, 'a'));
  t.false(tickets.isGood(second, 'b'));
  t.true(tickets.isGood(tickets.take(), 'a'));
});

test('more forgotten things than are remembered void old answers about everything, and no young ones', t => {
  const tickets = new Tickets();
  const before = tickets.take();
  tickets.noteForgotten('first');
  const after = tickets.take();
  for (let i = 0; i < 40_000; i++) tickets.noteForgotten(`subject ${i}`);

  t.false(tickets.isGood(before, 'other'));
  t.false(tickets.isGood(after, 'subject 39999'));
  t.true(tickets.isGood(tickets.take(), 'subject 39999'));
});
