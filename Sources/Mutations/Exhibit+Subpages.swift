#if MUTATIONS
  extension Exhibit {
    /// Sub-page protection: maps, armed leaves, tables of permissions, and whoever asks them.
    static var subpages: [Exhibit] {
      [
        Exhibit(
          .subpagesOfReadOnlyHostPage, "subpages-of-read-only-host-page",
          "Sub-pages permit writes to a page that the host may not write.",
          in: "PageTables/EntryEncoding+Subpages.swift"),
        Exhibit(
          .armedLeafKeepsWrite, "armed-leaf-keeps-write",
          "The leaf of a protected page stays writable, and no sub-page is asked about.",
          in: "PageTables/EntryEncoding+Subpages.swift"),
        Exhibit(
          .armedLeafNeverDirty, "armed-leaf-never-dirty",
          "Without dirty bits, a page that is written by sub-pages counts as clean.",
          in: "PageTables/EntryEncoding+Reading.swift"),
        Exhibit(
          .subpageVectorInOddBits, "subpage-vector-in-odd-bits",
          "Permissions lie in the odd bits of an entry, which are reserved.",
          in: "PageTables/SubpageEntry.swift"),
        Exhibit(
          .prefetchForgetsSubpages, "prefetch-forgets-subpages",
          "A leaf that is made because its neighbour was asked for is writable, protected or not.",
          in: "DirectMMU/DirectMMU+Map.swift"),
        Exhibit(
          .hugePageKeptOverSubpages, "huge-page-kept-over-subpages",
          "A large page stays mapped when one of its pages is protected.",
          in: "DirectMMU/DirectMMU+Subpages.swift"),
        Exhibit(
          .hugePagesNotRefused, "huge-pages-not-refused",
          "Around a protected page large pages may be mapped.",
          in: "SubpageProtection/SubpageProtection+Access.swift"),
        Exhibit(
          .hugePagesStayRefused, "huge-pages-stay-refused",
          "Large pages do not come back when a page is open again.",
          in: "SubpageProtection/SubpageProtection+Access.swift"),
        Exhibit(
          .leavesIgnoreSubpages, "leaves-ignore-subpages",
          "Leaves that are there stay as they are when a page is protected.",
          in: "VirtualMachine/VirtualMachine+Subpages.swift"),
        Exhibit(
          .subpageRootNotReferenced, "subpage-root-not-referenced",
          "A second processor on the tables of permissions is not counted.",
          in: "SubpageProtection/SubpageProtection+Roots.swift"),
        Exhibit(
          .subpageRootsSharedBetweenSpaces, "subpage-roots-shared-between-spaces",
          "System-management mode goes by the permissions of the normal memslots.",
          in: "VirtualMachine/VirtualMachine+SubpageExits.swift"),
        Exhibit(
          .subpageRootOfThePast, "subpage-root-of-the-past",
          "A root is made for tables that have become obsolete meanwhile.",
          in: "VirtualMachine/VirtualMachine+SubpageExits.swift"),
        Exhibit(
          .subpageRootsNotLoaded, "subpage-roots-not-loaded",
          "Processors that run go on without the tables when protection is switched on.",
          in: "VirtualMachine/VirtualMachine+Subpages.swift"),
        Exhibit(
          .subpageLimitOffByOne, "subpage-limit-off-by-one",
          "One call may name 513 pages.",
          in: "SubpageProtection/SubpageProtection+Access.swift"),
        Exhibit(
          .subpageTableNotSetAside, "subpage-table-not-set-aside",
          "Tables of permissions that are there stay as they are when a map changes.",
          in: "SubpageProtection/SubpageProtection+Access.swift"),
        Exhibit(
          .missFillsOnePage, "miss-fills-one-page",
          "A miss writes the permissions of one page, and its 511 neighbours refuse everything.",
          in: "SubpageProtection/SubpageProtection+Miss.swift"),
        Exhibit(
          .subpageChangeNotFlushed, "subpage-change-not-flushed",
          "Processors keep what they know when permissions change.",
          in: "VirtualMachine/VirtualMachine+Subpages.swift"),
        Exhibit(
          .subpageMapForgottenOnMigration, "subpage-map-forgotten-on-migration",
          "What may be written of a page is forgotten when the page moves.",
          in: "VirtualMachine/VirtualMachine+Notifier.swift"),
        Exhibit(
          .emulatorIgnoresSubpages, "emulator-ignores-subpages",
          "A write that the hypervisor performs for the guest is not judged.",
          in: "VirtualMachine/VirtualMachine+Subpages.swift"),
        Exhibit(
          .emulatorJudgesFirstByte, "emulator-judges-first-byte",
          "A write that the hypervisor performs is judged by its first byte alone.",
          in: "VirtualMachine/VirtualMachine+Subpages.swift"),
        Exhibit(
          .guestMarksIgnoreSubpages, "guest-marks-ignore-subpages",
          "The hypervisor marks an entry of the guest's accessed that may not be written.",
          in: "VirtualMachine/GuestTables.swift"),
        Exhibit(
          .refusalJudgesFirstByte, "refusal-judges-first-byte",
          "A refused write is looked at by its first byte alone, and tried again for ever.",
          in: "VirtualMachine/VirtualMachine+SubpageExits.swift"),
      ]
    }
  }
#endif
