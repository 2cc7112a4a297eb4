/** The shapes of `/api/fleet` and `/api/events`; `web/src/view` writes them. No module: their names are known everywhere. */

interface Instance {
  Key: string;
  Cluster: string;
  Source?: string;
  Detached?: boolean;
  Depth: number;
  Role: 'primary' | 'co-primary' | 'intermediate' | 'replica';
  State: 'ok' | 'down' | 'unseen';
  LastSeen?: string;
  Failure?: string;
  Problems?: string[];
  Replication?: 'running' | 'connecting' | 'stopped' | 'failed';
  ReplicationError?: string;
  Lag: number | null;
  Delay?: number;
  ReadOnly: boolean;
  Alias?: string;
  Version: string;
  DataCenter?: string;
  Region?: string;
  ServerId: number;
  Positioning?: 'gtid' | 'file';
  Errant?: number;
  PreparedXa?: number;
  StuckLog?: string;
  Feeds: boolean;
  SemiSync?: ('waits' | 'lapsed' | 'acknowledges')[];
  Group?: string;
  Rule?: string;
  Downtime?: Reservation;
  Maintenance?: Reservation;
  Tags?: Record<string, string>;
}

interface Reservation {
  Owner: string;
  Reason: string;
  Until: string;
}

interface Cluster {
  Id: string;
  Name: string;
  Alias: string;
  Domain?: string;
  Primaries: string[];
  Size: number;
  RecoversPrimary: boolean;
  RecoversIntermediate: boolean;
  Findings?: Finding[];
}

interface Finding {
  Key: string;
  Code: string;
  Severity: 'critical' | 'warning' | 'notice';
  Description: string;
  Evidence: string;
  Structure?: string[];
  Since: string;
  DowntimeUntil?: string;
  HeldBackBy?: string[];
  Would?: string[];
  ByHand?: boolean;
  Next?: string[];
  Skipped?: boolean;
}

interface Recovery {
  Id: number;
  Uid: string;
  Cluster: string;
  ClusterName: string;
  ClusterAlias: string;
  Kind: string;
  Cause: string;
  Code: string;
  Failed: string;
  Successor?: string;
  Phase: string;
  Node: string;
  BegunAt: string;
  EndedAt?: string;
  Errors?: string[];
  Lost?: string[];
  Acknowledged?: boolean;
  Why?: string[];
  Steps?: { At: string; Text: string }[];
}

interface FleetState {
  LedgerIndex: number;
  RecoveriesDisabled: boolean;
  Breaker: string;
  Nodes: number;
}

interface Rows {
  Generation: number;
  At: string;
  State?: FleetState;
  Clusters?: Cluster[];
  Instances?: Instance[];
  Recoveries?: Recovery[];
  GoneClusters?: string[];
  GoneInstances?: string[];
}

/** What `/api/fleet` answers. */
interface Whole extends Rows {
  Token: string;
  Node: string;
  Event: string;
}

interface Session {
  User: string;
  MayWrite: boolean;
  Why: string;
  Node: string;
  Version: string;
  Message: string;
  LeftOutOfNames: string;
}

/** An answer of a route that wraps. */
interface Wrapped {
  Code: string;
  Message: string;
  Details: any;
}

type Health = 'critical' | 'warning' | 'ok' | 'muted' | 'unseen' | 'busy';
