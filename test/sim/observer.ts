// Watches every call that a simulated server handles, without the servers knowing: who asked whom for what, and what came of it.
// It owns the one place where the real RpcServer is wrapped; production code has no hooks for it.
import { asGfsError, type GfsError } from '../../src/protocol/errors.js';
import type { Kind, Reply, Request } from '../../src/protocol/messages.js';
import type { Token } from '../../src/protocol/token.js';
import { decodeBody } from '../../src/protocol/wire-values.js';
import { RpcServer } from '../../src/rpc/server.js';
import type { Answer, CallContext } from '../../src/rpc/types.js';

export interface ObservedCall {
  /** Hosts of the simulated machines. */
  from: string;
  to: string;
  kind: Kind;
  request: unknown;
  payloadBytes: number;
}

export interface Observer {
  onCall(call: ObservedCall): void;
  onAnswer(call: ObservedCall, answer: { body?: unknown; error?: GfsError }): void;
}

type AnyHandler = (request: unknown, context: CallContext) => Answer<Kind> | Promise<Answer<Kind>>;

let current: { observer: Observer; hostOf: (platform: unknown) => string } | undefined;
let isInstalled = false;

/** From now on servers that begin to listen are watched by `observer`; `hostOf` names the machine of a Platform. One observer per process. */
export function observe(observer: Observer, hostOf: (platform: unknown) => string): void {
  current = { observer, hostOf };
  if (isInstalled) return;
  isInstalled = true;
  const listen = RpcServer.prototype.listen;
  RpcServer.prototype.listen = function (this: RpcServer<Kind>, address: string): Promise<string> {
    if (current) watch(this, current.observer, current.hostOf(this.platform));
    return listen.call(this, address);
  };
}

function watch(server: RpcServer<Kind>, observer: Observer, to: string): void {
  const handlers = server.options.handlers as unknown as Record<string, AnyHandler>;
  const watched: Record<string, AnyHandler> = {};
  for (const kind of Object.keys(handlers) as Kind[]) {
    const handle = handlers[kind]!;
    watched[kind] = (request, context) => {
      const call: ObservedCall = {
        from: hostName(context.connection.remoteAddress),
        to,
        kind,
        request,
        payloadBytes: context.payload.reduce((sum, buffer) => sum + buffer.length, 0),
      };
      observer.onCall(call);
      let answer: Answer<Kind> | Promise<Answer<Kind>>;
      try {
        answer = handle.call(handlers, request, context);
      } catch (error) {
        observer.onAnswer(call, { error: asGfsError(error) });
        throw error;
      }
      if (!(answer instanceof Promise)) {
        observer.onAnswer(call, { body: answer.body });
        return answer;
      }
      return answer.then(
        value => {
          observer.onAnswer(call, { body: value.body });
          return value;
        },
        error => {
          observer.onAnswer(call, { error: asGfsError(error) });
          throw error;
        },
      );
    };
  }
  (server.options as { handlers: unknown }).handlers = watched;
}

export function hostName(address: string): string {
  return address.slice(0, address.lastIndexOf(':'));
}

/** What a token says, without judging it. */
export function readToken(sealed: Buffer): Token {
  return decodeBody(sealed.subarray(20)) as Token;
}

export function requestOf<K extends Kind>(call: ObservedCall, _kind: K): Request<K> {
  return call.request as Request<K>;
}

export function replyOf<K extends Kind>(body: unknown, _kind: K): Reply<K> {
  return body as Reply<K>;
}
