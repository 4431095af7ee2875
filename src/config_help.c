#include "config.h"

static const char node_help[] =
    "Usage: velour-fog [node] [OPTION]...\n"
    "       velour-fog frontend|reshard|status|diff|backup|restore --help\n"
    "A key-value store in memory; curl is its client.\n"
    "\n"
    "  curl -d VALUE localhost:8000/KEY     sets\n"
    "  curl localhost:8000/KEY              gets: 200 and the value, or 204\n"
    "  curl -X DELETE localhost:8000/KEY    deletes\n"
    "\n"
    "  --listen ADDR:PORT     where to serve (default [::]:8000; port 0: a free one)\n"
    "  --join HOST:PORT       a member to join, or a name of several (default none)\n"
    "  --advertise HOST:PORT  where members reach this node (default: found out)\n"
    "  --cluster-name NAME    only nodes of one name join (default fog)\n"
    "  --partition I/N        the partition that this node holds (default: all)\n"
    "  --forget-after TIME    until a dead member is dropped (default 1d)\n"
    "  --allow CIDR           who may connect, repeatable (default: private networks)\n"
    "  --memory-max SIZE      memory to use (default: 3/4 of all; 0: no limit)\n"
    "  --value-max SIZE       largest value (default 64M)\n"
    "  --connections-max N    open connections (default: by the file descriptors)\n"
    "  --idle-timeout TIME    until an unused connection is closed (default 5m)\n"
    "  --request-timeout TIME until a request must be complete (default 30s)\n"
    "  --drain-time TIME      for a clean stop, at most (default 10s)\n"
    "  --grace TIME           how long deletes are remembered (default 1d)\n"
    "  --log-level LEVEL      error, warn, info or debug (default info)\n"
    "  --help, --version\n"
    "\n"
    "SIZE: bytes, or with K, M, G, T. TIME: seconds, or with ms, s, m, h, d.\n"
    "Each option may also come from the environment: VELOUR_FOG_MEMORY_MAX=16G.\n";

static const char frontend_help[] =
    "Usage: velour-fog frontend --cluster HOST:PORT,... [OPTION]...\n"
    "Speaks to clients as a node does, and sends each key to its partition's cluster.\n"
    "\n"
    "  velour-fog frontend --cluster 10.0.0.1:8000,10.0.0.2:8000 \\\n"
    "                      --cluster 10.0.1.1:8000,10.0.1.2:8000\n"
    "\n"
    "  --cluster MEMBERS      HOST:PORT,... of a partition's cluster (default none);\n"
    "                         once for each partition, in order, from 0\n"
    "  --next-cluster MEMBERS those of another number, to move to (default none)\n"
    "  --previous-cluster MEMBERS those that keys move from (default none)\n"
    "  --read-from WHERE      any member, or home, where writes go (default any)\n"
    "  --listen ADDR:PORT     where to serve (default [::]:8000; port 0: a free one)\n"
    "  --reuse-port YES/NO    whether others may serve on that port (default no)\n"
    "  --allow CIDR           who may connect, repeatable (default: private networks)\n"
    "  --value-max SIZE       largest value (default 64M)\n"
    "  --connections-max N    open connections (default: by the file descriptors)\n"
    "  --idle-timeout TIME    until an unused connection is closed (default 5m)\n"
    "  --request-timeout TIME until a request must be complete (default 30s)\n"
    "  --drain-time TIME      for a clean stop, at most (default 10s)\n"
    "  --log-level LEVEL      error, warn, info or debug (default info)\n"
    "  --help, --version\n"
    "\n"
    "SIZE: bytes, or with K, M, G, T. TIME: seconds, or with ms, s, m, h, d.\n"
    "Each option may also come from the environment:\n"
    "VELOUR_FOG_CLUSTER='10.0.0.1:8000,10.0.0.2:8000 10.0.1.1:8000,10.0.1.2:8000'.\n";

static const char reshard_help[] =
    "Usage: velour-fog reshard --from HOST:PORT,... --to HOST:PORT,... [OPTION]...\n"
    "Moves all keys from the clusters of one number of partitions to those of another\n"
    "one, while front-ends with --cluster NEW and --previous-cluster OLD serve them.\n"
    "\n"
    "  velour-fog reshard --from 10.0.0.1:8000 --from 10.0.1.1:8000 \\\n"
    "      --to 10.0.2.1:8000 --to 10.0.3.1:8000 --to 10.0.4.1:8000\n"
    "\n"
    "  --from MEMBERS         HOST:PORT,... of a cluster that has keys (default none)\n"
    "  --to MEMBERS           HOST:PORT,... of one to have them (default none);\n"
    "                         each once for each partition, in order, from 0\n"
    "  --rate SIZE            bytes to move in a second, at most (default no limit)\n"
    "  --help, --version\n"
    "\n"
    "It copies, and goes over all again until nothing is new. Then it exits with 0,\n"
    "and every key is known to be in its new cluster. Killed or failed (1), it is run\n"
    "again. It deletes nothing: stop the old nodes once no front-end names them.\n"
    "\n"
    "SIZE: bytes, or with K, M, G, T. Each may also come from the environment:\n"
    "VELOUR_FOG_FROM='10.0.0.1:8000 10.0.1.1:8000'.\n";

static const char status_help[] =
    "Usage: velour-fog status [HOST:PORT] [OPTION]...\n"
    "Shows who is up, ready, gathering, down or has a wrong clock, with figures of\n"
    "each: of a node's cluster, or of all partitions behind a front-end.\n"
    "\n"
    "  velour-fog status 10.0.0.1:8000          once\n"
    "  velour-fog status --watch                again and again, until Ctrl-C\n"
    "\n"
    "  HOST:PORT              whom to ask first (default localhost:8000)\n"
    "  --watch                show it again, every two seconds (default no)\n"
    "  --interval TIME        between two times with --watch (default 2s)\n"
    "  --json                 print one JSON object (default no)\n"
    "  --help, --version\n"
    "\n"
    "Exit code: 0 when all is well, 1 when something is wrong, which the first lines\n"
    "say, 2 for a wrong command line, 3 when HOST:PORT does not answer. Colours are\n"
    "for a terminal, unless NO_COLOR is set. TIME: seconds, or with ms, s, m, h, d.\n"
    "Each option may also come from the environment: VELOUR_FOG_INTERVAL=5.\n";

static const char diff_help[] =
    "Usage: velour-fog diff HOST:PORT HOST:PORT [OPTION]...\n"
    "Names the keys that two nodes differ in, percent-encoded, and what each has.\n"
    "\n"
    "  velour-fog diff 10.0.0.1:8000 10.0.0.2:8000\n"
    "\n"
    "  --limit N              keys to name, at most (default 1000)\n"
    "  --help, --version\n"
    "\n"
    "It looks at everything that differs twice, a second apart, and names what has\n"
    "stayed as it was: keys that are being written are only counted.\n"
    "\n"
    "Exit code: 0 when both hold the same, 1 when they differ, 2 for a wrong command\n"
    "line, 3 when one does not answer. There is no default port: name both, such as\n"
    "10.0.0.1:8000. Front-ends hold nothing themselves, so name nodes.\n"
    "The option may also come from the environment: VELOUR_FOG_LIMIT=100.\n";

static const char backup_help[] =
    "Usage: velour-fog backup [HOST:PORT] FILE [OPTION]...\n"
    "Saves all records, deletes and times to live too, in one file: of a node's\n"
    "cluster, or of all partitions behind a front-end. Writes go on meanwhile.\n"
    "\n"
    "  velour-fog backup 10.0.0.9:8000 fog.backup\n"
    "\n"
    "  HOST:PORT              whom to ask (default localhost:8000)\n"
    "  --rate SIZE            bytes to read in a second, at most (default no limit)\n"
    "  --resume               go on with what FILE.part has (default no)\n"
    "  --help, --version\n"
    "\n"
    "FILE is there once it is whole; FILE.part before. When a node fails, another one\n"
    "goes on where it was. The file is checked as a whole by velour-fog restore, and\n"
    "can be restored without it: curl -T FILE HOST:8000/-/merge (one partition).\n"
    "\n"
    "Exit code: 0 when it is done, 1 when it has failed, 2 for a wrong command line,\n"
    "3 when HOST:PORT does not answer.\n"
    "SIZE: bytes, or with K, M, G, T. Each may also come from the environment:\n"
    "VELOUR_FOG_RATE=50M.\n";

static const char restore_help[] =
    "Usage: velour-fog restore [HOST:PORT] FILE [OPTION]...\n"
    "Brings back what velour-fog backup (or curl from /-/records) has saved, through\n"
    "a node, or through a front-end to any number of partitions.\n"
    "\n"
    "  velour-fog restore 10.0.0.9:8000 fog.backup\n"
    "\n"
    "  HOST:PORT              whom to ask (default localhost:8000)\n"
    "  --rate SIZE            bytes to give in a second, at most (default no limit)\n"
    "  --resume               begin where FILE.progress says (default no)\n"
    "  --help, --version\n"
    "\n"
    "The whole file is checked first: a damaged one changes nothing. A record goes in\n"
    "if it is newer than what is there: so it may be restored twice, and while\n"
    "clients write. Use --resume only if no node has lost what it was given since.\n"
    "\n"
    "Exit code: 0 when it is done, 1 when it has failed, 2 for a wrong command line,\n"
    "3 when HOST:PORT does not answer.\n"
    "SIZE: bytes, or with K, M, G, T. Each may also come from the environment:\n"
    "VELOUR_FOG_RATE=50M.\n";

const char *config_help(enum config_role role)
{
    switch (role) {
    case CONFIG_FRONTEND:
        return frontend_help;
    case CONFIG_RESHARD:
        return reshard_help;
    case CONFIG_STATUS:
        return status_help;
    case CONFIG_DIFF:
        return diff_help;
    case CONFIG_BACKUP:
        return backup_help;
    case CONFIG_RESTORE:
        return restore_help;
    default:
        return node_help;
    }
}
