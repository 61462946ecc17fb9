#if MUTATIONS
  extension Exhibit {
    /// The tables of ours and the door to their entries.
    static var tables: [Exhibit] {
      [
        Exhibit(
          .lostExchangeTakenAsSuccess, "lost-exchange-taken-as-success",
          "An entry that somebody else changed counts as changed.",
          in: "PageTables/PageTables+Door.swift"),
        Exhibit(
          .nonAtomicVolatileSPTEUpdate, "non-atomic-volatile-spte-update", catalogued: "AD-03",
          "An entry is read, and then stored over what processors marked meanwhile.",
          in: "PageTables/PageTables+Door.swift",
          equivalent: "writable entries are dirty from the start, and nothing reads the mark of use"
        ),
        Exhibit(
          .flushOnlyFor4KChanges, "flush-only-for-4k-changes", catalogued: "TF-29",
          "Only changes of 4 KiB pages owe a flush.",
          in: "PageTables/PageTables+Door.swift"),
        Exhibit(
          .dirtyStateLostOnZap, "dirty-state-lost-on-zap",
          "The host does not learn that a page that goes was written.",
          in: "PageTables/PageTables+Door.swift"),
        Exhibit(
          .accessedLostWithEPT, "accessed-lost-with-ept", catalogued: "AD-05",
          "Without accessed bits the host does not learn that a page was used.",
          in: "PageTables/PageTables+Door.swift",
          equivalent: "no operation of the host reads the mark of use; ageing asks the entries"),
        Exhibit(
          .lpageStatsCountMMIO, "lpage-stats-count-mmio", catalogued: "HP-10",
          "Statistics take bit 7 of a device entry for a large page.",
          in: "PageTables/PageTables+Door.swift"),
        Exhibit(
          .removedTableForgotten, "removed-table-forgotten",
          "What hangs under a table that goes stays as it is.",
          in: "PageTables/PageTables+Door.swift"),
        Exhibit(
          .flushFlagOverwritten, "flush-flag-overwritten-across-calls", catalogued: "TF-07",
          "Of two debts the second replaces the first.",
          in: "PageTables/PendingFlush.swift"),
        Exhibit(
          .splitPartsOutOfPlace, "split-parts-out-of-place",
          "All parts of a large page map its first.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .writeRightOnReadOnlyPage, "write-right-on-read-only-page",
          "An entry grants writes that memslot or host refuse.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .accTrackRestoreUpgradesWrite, "acc-track-restore-upgrades-write", catalogued: "AT-02",
          "Rights that come back after ageing bring the right to write.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .mmioGFNLostL1TFBits, "mmio-gfn-lost-l1tf-bits", catalogued: "MS-08",
          "A device entry keeps only the low bits of its frame.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .mmioMaskOverlapsGeneration, "mmio-mask-overlaps-generation", catalogued: "MS-06",
          "A bit of the generation counts when a device entry is recognized.",
          in: "PageTables/EntryEncoding+Reading.swift"),
        Exhibit(
          .mmioMarkerWithoutReservedBits, "mmio-marker-without-reserved-bits", catalogued: "MS-09",
          "Device entries are made where no bit is left that makes them fault.",
          in: "PageTables/EntryEncoding.swift"),
      ]
    }
  }
#endif
