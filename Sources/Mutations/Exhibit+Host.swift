#if MUTATIONS
  extension Exhibit {
    /// The host process and its pages.
    static var host: [Exhibit] {
      [
        Exhibit(
          .copyOnWriteNotBroken, "copy-on-write-not-broken",
          "A write to a shared page makes it writable where it is.",
          in: "HostMemory/HostAddressSpace+LookUp.swift"),
        Exhibit(
          .copyOnWriteCopiesNothing, "copy-on-write-copies-nothing",
          "The page that a write gets has none of the old bytes.",
          in: "HostMemory/HostAddressSpace+LookUp.swift"),
        Exhibit(
          .zeroPageWritable, "zero-page-writable",
          "Untouched memory is mapped to the page of zeros for writing.",
          in: "HostMemory/HostAddressSpace+LookUp.swift"),
        Exhibit(
          .followPFNAssumedWritable, "follow-pfn-assumed-writable", catalogued: "NO-02",
          "A page that the host does not count is taken for writable.",
          in: "HostMemory/HostAddressSpace+LookUp.swift"),
        Exhibit(
          .hugePageOffsetLost, "huge-page-offset-lost",
          "Every frame of a huge page is its first.",
          in: "HostMemory/HostAddressSpace+LookUp.swift"),
        Exhibit(
          .hostProtectionIgnored, "host-protection-ignored",
          "A write faults in a page of a region that may only be read.",
          in: "HostMemory/HostAddressSpace+LookUp.swift"),
        Exhibit(
          .hostZapWithoutNotifier, "host-zap-without-notifier", catalogued: "NO-07",
          "Nobody is told that small pages became a large one.",
          in: "HostMemory/HostAddressSpace+HugePages.swift"),
        Exhibit(
          .collapseLeavesHoles, "collapse-leaves-holes",
          "A collapsed page keeps what its frame held where nothing was mapped.",
          in: "HostMemory/HostAddressSpace+HugePages.swift"),
        Exhibit(
          .migrationForgetsContent, "migration-forgets-content",
          "A page that moves loses its bytes.",
          in: "HostMemory/HostAddressSpace+Migration.swift"),
        Exhibit(
          .protectWithoutNotifier, "protect-without-notifier",
          "Nobody is told that a protection changed.",
          in: "HostMemory/HostAddressSpace+Changes.swift"),
        Exhibit(
          .pagesFreedBeforeNotifier, "pages-freed-before-notifier",
          "Pages are freed before anybody is told that they go.",
          in: "HostMemory/HostAddressSpace+Changes.swift"),
        Exhibit(
          .mergeLeavesWritable, "merge-leaves-writable",
          "The page that stays after a merge may still be written.",
          in: "HostMemory/HostAddressSpace+Sharing.swift"),
        Exhibit(
          .poisonWithoutNotifier, "poison-without-notifier",
          "Nobody is told that a page is damaged.",
          in: "HostMemory/HostAddressSpace+Migration.swift"),
      ]
    }
  }
#endif
