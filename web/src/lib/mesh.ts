import { computed, signal } from "@preact/signals";
import type { Mesh } from "../api/types";

/** The mesh as it was last read; undefined before. */
export const mesh = signal<Mesh>();

/** Whether nothing can be changed here. */
export const readOnly = computed(() => mesh.value?.readOnly ?? false);
