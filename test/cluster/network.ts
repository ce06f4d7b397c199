// A small network on this machine: a namespace per host, joined by a bridge, whose packets a test can drop. Needs root, `ip` and `iptables`. It knows
// no programs of ours.
import type { ExecutionContext } from 'ava';
import type { Place } from './cluster.js';
import { must, shell } from './processes.js';

export class Network {
  private readonly hosts: string[] = [];

  private constructor(
    private readonly t: ExecutionContext,
    private readonly prefix: string,
  ) {}

  /** Why there can be no such network here, in a sentence; undefined when there can. */
  static async problem(): Promise<string | undefined> {
    if (process.getuid?.() !== 0) return 'network namespaces need root';
    const name = `gfs${process.pid}probe`;
    const script = `ip netns add ${name} && trap "ip netns del ${name}" EXIT && ip netns exec ${name} iptables -L -n && ip link add ${name.slice(0, 12)}a type veth peer name ${name.slice(0, 12)}b && ip link del ${name.slice(0, 12)}a`;
    const { code, stderr } = await shell(script);
    return code === 0 ? undefined : `there are no network namespaces with iptables and veth here: ${stderr.trim()}`;
  }

  /** Goes with the test. */
  static async make(t: ExecutionContext, hosts: readonly string[]): Promise<Network> {
    const network = new Network(t, `gfs${process.pid}`);
    const hub = network.space('hub');
    t.teardown(() => network.remove());
    await must(t, `ip netns add ${hub}; ip -n ${hub} link add bridge type bridge; ip -n ${hub} link set bridge up`);
    for (const host of hosts) await network.add(host);
    return network;
  }

  place(host: string): Place {
    return { host: this.addressOf(host), within: ['nsenter', `--net=/run/netns/${this.space(host)}`] };
  }

  /** From now on no packet passes between the two, in either direction. */
  async cut(one: string, other: string): Promise<void> {
    await this.rule('-A', one, other);
    await this.rule('-A', other, one);
  }

  async join(one: string, other: string): Promise<void> {
    await this.rule('-D', one, other);
    await this.rule('-D', other, one);
  }

  private async rule(change: '-A' | '-D', at: string, from: string): Promise<void> {
    await must(this.t, `ip netns exec ${this.space(at)} iptables ${change} INPUT -s ${this.addressOf(from)} -j DROP`);
  }

  private async add(host: string): Promise<void> {
    this.hosts.push(host);
    const [space, hub, port] = [this.space(host), this.space('hub'), `port${this.hosts.length}`];
    await must(
      this.t,
      `ip netns add ${space}
       ip -n ${space} link add eth0 type veth peer name ${port} netns ${hub}
       ip -n ${space} addr add ${this.addressOf(host)}/24 dev eth0
       ip -n ${space} link set eth0 up
       ip -n ${space} link set lo up
       ip -n ${hub} link set ${port} master bridge up`,
    );
  }

  private async remove(): Promise<void> {
    for (const name of [...this.hosts, 'hub']) await shell(`ip netns del ${this.space(name)}`);
  }

  private space(name: string): string {
    return `${this.prefix}${name}`;
  }

  private addressOf(host: string): string {
    return `10.99.0.${this.hosts.indexOf(host) + 1}`;
  }
}
