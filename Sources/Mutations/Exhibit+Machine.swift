#if MUTATIONS
  extension Exhibit {
    /// The façade: notifiers, flushes, roots, layouts.
    static var machine: [Exhibit] {
      [
        Exhibit(
          .hapUnmapWithoutFlush, "hap-unmap-without-flush", catalogued: "TF-32",
          "No processor forgets what the host takes away.",
          in: "VirtualMachine/VirtualMachine+Notifier.swift"),
        Exhibit(
          .notifierUnlockBeforeFlush, "notifier-unlock-before-flush", catalogued: "TF-04",
          "The MMU lock is let go before processors forget.",
          in: "VirtualMachine/VirtualMachine+Notifier.swift"),
        Exhibit(
          .notifierMissesSecondSlot, "notifier-misses-second-slot",
          "A range of the host is taken from the first memslot that lies there.",
          in: "VirtualMachine/VirtualMachine+Notifier.swift"),
        Exhibit(
          .invalidationNeverEnds, "invalidation-never-ends",
          "An invalidation that began does not end.",
          in: "VirtualMachine/VirtualMachine+Notifier.swift"),
        Exhibit(
          .invpcidFlushSkippedWithTDP, "invpcid-flush-skipped-with-tdp", catalogued: "TF-09",
          "INVPCID flushes nothing.",
          in: "VirtualMachine/VirtualMachine+Processors.swift"),
        Exhibit(
          .smmFlagClearedMMUNotReset, "smm-flag-cleared-mmu-not-reset", catalogued: "SM-01",
          "A processor that leaves system-management mode keeps its root.",
          in: "VirtualMachine/VirtualMachine+Processors.swift"),
        Exhibit(
          .setEventsTogglesSMMWithoutReset, "set-events-toggles-smm-without-reset",
          catalogued: "SM-02",
          "A processor that is put into system-management mode keeps its root.",
          in: "VirtualMachine/VirtualMachine+Processors.swift"),
        Exhibit(
          .prefaultIgnoresObsoleteRequest, "prefault-ignores-obsolete-request", catalogued: "RT-05",
          "A request to leave an obsolete root is not served.",
          in: "VirtualMachine/VirtualMachine+Processors.swift"),
        Exhibit(
          .flushRequestIgnored, "flush-request-ignored",
          "A request to forget is not served.",
          in: "VirtualMachine/VirtualMachine+Processors.swift"),
        Exhibit(
          .newRootNotFlushed, "new-root-not-flushed",
          "A processor loads a root and keeps what it had of another.",
          in: "VirtualMachine/VirtualMachine+Processors.swift"),
        Exhibit(
          .rootReferenceLeaked, "root-reference-leaked-on-yield", catalogued: "TD-06",
          "A processor that leaves a root keeps its reference.",
          in: "VirtualMachine/VirtualMachine+Processors.swift"),
        Exhibit(
          .flushMissesLastProcessor, "flush-misses-last-processor",
          "The last processor is not asked to forget.",
          in: "VirtualMachine/ProcessorBoard.swift"),
        Exhibit(
          .deletedSlotNotZapped, "deleted-slot-not-zapped",
          "The pages of a memslot that goes stay mapped.",
          in: "VirtualMachine/VirtualMachine+Memslots.swift"),
        Exhibit(
          .movedSlotNotZapped, "moved-slot-not-zapped",
          "The pages of a memslot that moves stay mapped.",
          in: "VirtualMachine/VirtualMachine+Memslots.swift"),
        Exhibit(
          .readersNotAwaited, "readers-not-awaited",
          "A layout is taken back while processors still use it.",
          in: "VirtualMachine/VirtualMachine+Memslots.swift"),
        Exhibit(
          .memslotsReadOutsideGuard, "memslots-read-outside-guard", catalogued: "MS-14",
          "A processor does not say that it reads memslots and tables.",
          in: "VirtualMachine/VirtualMachine+Access.swift"),
        Exhibit(
          .prefaultDeadlocksSlotDelete, "prefault-deadlocks-slot-delete", catalogued: "MS-15",
          "A fault is tried again without looking away.",
          in: "VirtualMachine/VirtualMachine+Access.swift"),
        Exhibit(
          .accessedDirtyNotAskedFor, "accessed-dirty-not-asked-for",
          "The EPT pointer does not ask for accessed and dirty bits.",
          in: "VirtualMachine/VirtualMachine+Access.swift"),
      ]
    }
  }
#endif
