// Package sandbox runs a program apart from the rest of the machine: in PID,
// mount, IPC and UTS namespaces of its own and the network namespace of its
// workload, without capabilities, with no_new_privs, and with the mesh's own
// directories hidden. The file system is otherwise the host's: there are no
// images.
//
// A sandbox is made in three steps by the same binary. Start clones a process
// into the namespaces; as Setup it prepares mounts and gives up every privilege,
// for good, then executes itself as Init, the namespace's PID 1, which starts the
// program, reaps orphans, passes signals on, and starts further commands
// (`lateen exec`, exec probes) on request. When Init ends, the kernel kills
// whatever the program left running; when the mesh ends, Init does.
package sandbox
