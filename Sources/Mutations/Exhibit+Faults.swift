#if MUTATIONS
  extension Exhibit {
    /// Direct faults, and what is taken away again.
    static var faults: [Exhibit] {
      [
        Exhibit(
          .hostLevelNotClamped, "host-level-not-clamped", catalogued: "HP-05",
          "A page is mapped as large as the host has it.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .wrongAddressSpaceForHostSize, "wrong-address-space-for-host-size", catalogued: "HP-06",
          "The size of the host page is looked up by the normal memslots.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .roLargeSPTENotDropped, "ro-large-spte-not-dropped", catalogued: "HP-07",
          "A large page in the way of a smaller one stays.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .hugeFrameNotAligned, "huge-frame-not-aligned",
          "A large page starts at the frame that was touched.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .lostTableLeaked, "lost-table-leaked",
          "A table that lost the race to be linked goes nowhere.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .prefetchOverSlotEdge, "prefetch-over-slot-edge",
          "Neighbours are mapped beyond the end of the memslot.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .prefetchDuringInvalidation, "prefetch-during-invalidation",
          "Neighbours are mapped while the host takes pages away.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .prefetchIntoReadOnlySlot, "prefetch-into-read-only-slot",
          "Neighbours in a read-only memslot are mapped for writing.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .splitFailureMeansRetry, "split-failure-means-retry", catalogued: "HP-13",
          "A fault that gets no table is tried again.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .invalidSlotTreatedAsMMIO, "invalid-slot-treated-as-mmio", catalogued: "MS-01",
          "A memslot on its way out counts as none.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .mmioGenerationPublishedTooEarly, "mmio-cache-generation-published-too-early",
          catalogued: "MS-05",
          "A device found in the old layout is remembered with the new generation.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .roMemoryWriteTakenForTableWrite, "ro-memory-write-taken-for-table-write",
          catalogued: "AP-03",
          "A write to a read-only memslot is resumed as if a table was meant.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .readOnlySlotMappedWritable, "read-only-slot-mapped-writable",
          "A page of a read-only memslot is mapped as the host has it.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .momentTakenAfterLookUp, "moment-taken-after-look-up",
          "The moment of a fault is noted after the host page was looked up.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .retryCheckSkipped, "retry-check-skipped",
          "What the host did since the page was looked up is not asked for.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .obsoleteRootNotChecked, "obsolete-root-not-checked",
          "A page is mapped into a root that was invalidated.",
          in: "DirectMMU/DirectMMU+Fault.swift"),
        Exhibit(
          .mmioGenerationUnchecked, "mmio-generation-unchecked",
          "A device entry of any generation is believed.",
          in: "DirectMMU/DirectMMU+Devices.swift"),
        Exhibit(
          .mmioCacheIgnoresSMMSlots, "mmio-cache-ignores-smm-slots", catalogued: "MS-07",
          "A device is remembered with the generation of the normal memslots.",
          in: "DirectMMU/DirectMMU+Devices.swift"),
        Exhibit(
          .rootsSharedBetweenSpaces, "roots-shared-between-spaces",
          "System-management mode walks the normal root.",
          in: "DirectMMU/DirectMMU+Roots.swift"),
        Exhibit(
          .zapAllBoundSkipsTopLevel, "zap-all-bound-skips-top-level", catalogued: "TD-03",
          "Entries of the topmost level stay when a root is emptied.",
          in: "DirectMMU/DirectMMU+Roots.swift"),
        Exhibit(
          .rootIterationFiltersAddressSpace, "root-iteration-filters-address-space",
          catalogued: "TD-08",
          "What the host takes away stays in the roots of system-management mode.",
          in: "DirectMMU/DirectMMU+Zap.swift"),
        Exhibit(
          .notifierSkipsInvalidRoots, "notifier-skips-invalid-roots", catalogued: "TD-02",
          "What the host takes away stays in invalidated roots.",
          in: "DirectMMU/DirectMMU+Zap.swift"),
        Exhibit(
          .ageingStopsAtFirstLeaf, "ageing-stops-at-first-leaf",
          "Of several pages only the first grows old.",
          in: "DirectMMU/DirectMMU+Zap.swift"),
        Exhibit(
          .zapOneFrameShort, "zap-one-frame-short",
          "The last frame of a range is not zapped.",
          in: "DirectMMU/LeafWalk.swift"),
        Exhibit(
          .zapStopsAtTable, "zap-stops-at-table",
          "A walk over leaves ends with the table that it began in.",
          in: "DirectMMU/LeafWalk.swift"),
      ]
    }
  }
#endif
