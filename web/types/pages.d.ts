/** The shapes that pieces of the dashboard give each other. No module: their names are known everywhere. */

/** A row of the drawing of a cluster: an instance, or how many are folded here. */
interface Line {
  row?: Instance;
  level: number;
  /** How many it has. */
  replicas: number;
  /** Whose replicas are folded. */
  under?: string;
  /** In which data centre those are. */
  center?: string;
  folded?: Instance[];
  /** Among its siblings. */
  isLast: boolean;
  /** Levels of those above it that have siblings below this row. */
  rails: number[];
}

interface Field {
  name: string;
  label: string;
  kind: 'text' | 'number' | 'choice' | 'instance';
  /** What is there at first. */
  value?: (row: Instance) => string;
  /** Value and label. */
  choices?: [string, string][];
  instances?: (row: Instance) => Instance[];
  optional?: boolean;
}

/** `plan`: what would be done is shown first; `alias`: and the alias of the cluster has to be typed. */
type Care = 'none' | 'plan' | 'alias';

type Values = Record<string, string>;

/** What people can do to an instance. */
interface Operation {
  id: string;
  group: string;
  label: string;
  /** `plan` where nothing is said. */
  care?: Care;
  /** With `{it}` for the instance, and `{source}` for its source. */
  says: string;
  /** Why it makes no sense now; empty when it does. */
  unfit?: (row: Instance) => string;
  shown?: (row: Instance) => unknown;
  fields?: Field[];
  /** A name is of what is done to the instance alone. */
  path: string | ((row: Instance, values: Values) => string);
  query?: (values: Values) => Record<string, string>;
}

/** Something that can be done after it was looked at. */
interface Task {
  title: string;
  says: string;
  care: Care;
  row?: Instance;
  /** What has to be typed. */
  alias?: string;
  /** Identity, to show a recovery while it runs. */
  cluster?: string;
  fields: Field[];
  path: (values: Values) => string;
  query?: (values: Values) => Record<string, string>;
  verb?: string;
}

/** A task as pages say it: with no fields and its plan shown first, unless they say otherwise. */
type Wish = Omit<Task, 'care' | 'fields'> & Partial<Task>;

/** Something that is wrong. */
interface Trouble {
  cluster: Cluster;
  finding?: Finding;
  /** The instance it is about. */
  row: Instance;
  /** How bad it is. */
  how: string;
  /** What people choose it by. */
  kinds: string[];
  /** When, as far as that is known; empty when it is not. */
  since: string;
  /** What the filter looks at. */
  text: string;
}

/** What a row of the list of clusters shows, worked out once per change. */
interface Summary {
  cluster: Cluster;
  version: number;
  health: Health;
  members: Instance[];
  centers: string[];
  versions: string[];
  problems: string[];
  lag: number | null;
  /** What the filter looks at. */
  text: string;
}

/** Whether something may be dropped somewhere. */
interface Verdict {
  Allowed: boolean;
  Why: string;
}

/** A task that is being looked at, or done. */
interface Dialog {
  task: Task;
  values: Values;
  /** The alias, as far as somebody typed it. */
  typed: string;
  plan: string[] | null;
  /** Why there is no plan. */
  refusal: string;
  state: 'asking' | 'planning' | 'running' | 'done' | 'failed';
  /** What came of it. */
  said: string;
  /** Which question its plan answers. */
  serial: number;
  /** The values that were last asked about. */
  rehearsed: string;
  /** The newest recovery there was. */
  before: number;
}

/** An instance that is being dragged, or its replicas, or some of them; and where it may go. */
interface Drag {
  key: string;
  what: 'instance' | 'replicas';
  only: string[];
  targets: Map<string, Verdict> | null;
  promote: Verdict | null;
  over: string;
}
