#if MUTATIONS
  extension Exhibit {
    /// Shadow paging: pages, their maps, stores and zaps.
    static var shadowPages: [Exhibit] {
      [
        Exhibit(
          .levelNotInKey, "level-not-in-key",
          "A shadow of a frame serves at any level.",
          in: "ShadowMMU/ShadowMMU+Pages.swift"),
        Exhibit(
          .quadrantNotInKey, "quadrant-not-in-key",
          "A shadow of one part of a guest's table serves for another.",
          in: "ShadowMMU/ShadowMMU+Pages.swift"),
        Exhibit(
          .quadrantOfPageTablesLost, "quadrant-of-page-tables-lost",
          "The second half of a 32-bit page table is taken for the first.",
          in: "PageTables/ShadowPageRole+Shadow.swift"),
        Exhibit(
          .largePageOverTable, "large-page-over-table",
          "A large page is mapped over a table that is shadowed.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .largeLeafLeftWritable, "large-leaf-left-writable",
          "A large page stays writable when a table in it is shadowed.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .largeLeafSplitWithoutFlush, "large-leaf-split-without-flush",
          "A large page makes room for a table, and processors keep it.",
          in: "ShadowMMU/ShadowMMU+Pages.swift"),
        Exhibit(
          .largeLeafNotRecorded, "large-leaf-not-recorded",
          "Large pages are on no reverse map.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .mmioSPTEOverPresentSPTE, "mmio-spte-over-present-spte", catalogued: "RM-03",
          "A device takes the place of a page that nobody unmaps.",
          in: "ShadowMMU/ShadowMMU+Leaf.swift"),
        Exhibit(
          .leafReplacedWithoutFlush, "leaf-replaced-without-flush",
          "A leaf makes room for that of another frame, and processors keep it.",
          in: "ShadowMMU/ShadowMMU+Leaf.swift"),
        Exhibit(
          .shadowedTableLeftWritable, "shadowed-table-left-writable",
          "A table that is shadowed anew stays writable.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .writeProtectionWithoutFlush, "write-protection-without-flush",
          "A table is shadowed while processors remember that they may write to it.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .tableNotTracked, "table-not-tracked",
          "A directory counts as writable.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .trackingNeverEnds, "tracking-never-ends",
          "A directory stays tracked when its shadow goes.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .writeProtectionLostOnZap, "write-protection-lost-on-zap",
          "With one shadow of a directory the tracking for all of them goes.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .recordedRightsStale, "recorded-rights-stale",
          "What a leaf translates is not noted anew when its rights change.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .secondParentNotRecorded, "second-parent-not-recorded",
          "A table knows the first of its parents only.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .missingParentUnlink, "missing-parent-unlink",
          "A table goes while others lead to it.",
          in: "ShadowMMU/ShadowMMU+Zap.swift"),
        Exhibit(
          .hostTakesSmallPagesOnly, "host-takes-small-pages-only",
          "Large leaves stay when the host takes a page.",
          in: "ShadowMMU/ShadowMMU+Host.swift"),
        Exhibit(
          .hostTakesOneLeafOfEach, "host-takes-one-leaf-of-each",
          "Of several leaves of a frame one goes when the host takes it.",
          in: "ShadowMMU/ShadowMMU+Host.swift"),
        Exhibit(
          .shadowLeavesNeverAge, "shadow-leaves-never-age",
          "Ageing leaves the marks of use.",
          in: "ShadowMMU/ShadowMMU+Host.swift"),
        Exhibit(
          .shadowDeviceGenerationUnchecked, "shadow-device-generation-unchecked",
          "A device of a former layout counts.",
          in: "ShadowMMU/ShadowMMU+Fault.swift",
          equivalent: "the guest's tables are walked for a device too, and say that memory is there"
        ),
        Exhibit(
          .shadowLeafGoesWithoutFlush, "shadow-leaf-goes-without-flush",
          "No flush is owed for a leaf that goes.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .zapCommittedWithoutFlush, "zap-committed-without-flush",
          "Pages go while processors may walk through them.",
          in: "PageTables/PendingZap.swift"),
        Exhibit(
          .storeReachesOneShadow, "store-reaches-one-shadow",
          "A store drops entries of one shadow of the table.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .storeReachesFirstQuadrant, "store-reaches-first-quadrant",
          "A store to the second half of a 32-bit page table drops nothing.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .secondHalfOfEntryKept, "second-half-of-entry-kept",
          "A store to a 32-bit directory drops one of two entries.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .halfEntryStoreIgnored, "half-entry-store-ignored",
          "A store of 4 bytes drops nothing.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .halfEntryMarkNotTold, "half-entry-mark-not-told",
          "The accessed bit of a 4-byte entry changes an 8-byte one that nobody drops.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .misalignedStoreCoversOneEntry, "misaligned-store-covers-one-entry",
          "A store across two entries drops the first.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .floodLimitOffByOne, "flood-limit-off-by-one",
          "A directory is taken for one no more at the fourth store.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .storeWithoutFlush, "store-without-flush",
          "What a store drops, processors keep.",
          in: "ShadowMMU/ShadowMMU+Writes.swift"),
        Exhibit(
          .storeByAddressNotTold, "store-by-address-not-told",
          "A store that bypasses paging is not looked at.",
          in: "VirtualMachine/VirtualMachine+Shadow.swift"),
        Exhibit(
          .staleCheckBeforeReclaim, "stale-check-before-reclaim", catalogued: "RM-04",
          "Making room may take the root that is in use.",
          in: "ShadowMMU/ShadowMMU+Fault.swift"),
        Exhibit(
          .slotDeleteLeavesTableShadows, "slot-delete-leaves-table-shadows", catalogued: "RM-12",
          "Shadows stay when the memslots change.",
          in: "VirtualMachine/VirtualMachine+ShadowUpkeep.swift"),
        Exhibit(
          .generationStays, "generation-stays",
          "Pages of former memslots count as new.",
          in: "ShadowMMU/ShadowMMU+Zap.swift"),
      ]
    }
  }
#endif
