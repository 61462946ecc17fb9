#if MUTATIONS
  extension Exhibit {
    /// The guest walk: entries, permissions, control registers.
    static var guestWalk: [Exhibit] {
      [
        Exhibit(
          .walkPastLevel1, "walk-past-level-1", catalogued: "GW-01",
          "A walk does not stop at level 1 unless bit 7 says so.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .walkerArraysFourLevels, "walker-arrays-four-levels", catalogued: "GW-02",
          "A walk of five levels notes the fifth over the first.",
          in: "X86Paging/WalkPath.swift"),
        Exhibit(
          .psBitIgnoredInUpperLevels, "ps-bit-ignored-in-upper-levels", catalogued: "GW-03",
          "Bit 7 is not reserved in level 4 and above.",
          in: "X86Paging/ReservedBits.swift"),
        Exhibit(
          .superpageLowBitsUnchecked, "superpage-low-bits-unchecked", catalogued: "GW-04",
          "The bits that would misalign a large page are not reserved.",
          in: "X86Paging/ReservedBits.swift"),
        Exhibit(
          .gpteADWrittenToWrongFrame, "gpte-ad-written-to-wrong-frame", catalogued: "GW-05",
          "A write for the guest finds a frame of a device by its offset in the slot.",
          in: "VirtualMachine/GuestTables.swift"),
        Exhibit(
          .pkeyLostOnSuperpage, "pkey-lost-on-superpage", catalogued: "GW-10",
          "A large page has protection key 0.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .stalePKRUMask, "stale-pkru-mask", catalogued: "PR-13",
          "Protection keys are heeded while CR4.PKE is 0.",
          in: "X86Paging/PermissionTable.swift"),
        Exhibit(
          .cr0WPGuestOwnedStale, "cr0-wp-guest-owned-stale", catalogued: "PR-17",
          "CR0.WP counts as 1 whatever the guest made of it.",
          in: "X86Paging/WalkRules.swift"),
        Exhibit(
          .errorCodeHighBitsIndexTable, "error-code-high-bits-index-table", catalogued: "PR-20",
          "Bits of an error code that ask for nothing index the permissions.",
          in: "X86Paging/PermissionTable.swift"),
        Exhibit(
          .supervisorPagesOpenToUser, "supervisor-pages-open-to-user",
          "User mode reaches supervisor pages.",
          in: "X86Paging/PermissionTable.swift"),
        Exhibit(
          .supervisorFetchesUserPages, "supervisor-fetches-user-pages",
          "SMEP is forgotten.",
          in: "X86Paging/PermissionTable.swift"),
        Exhibit(
          .supervisorReachesUserPages, "supervisor-reaches-user-pages",
          "SMAP is forgotten.",
          in: "X86Paging/PermissionTable.swift"),
        Exhibit(
          .implicitAccessExempt, "implicit-access-exempt",
          "EFLAGS.AC exempts implicit accesses from SMAP.",
          in: "X86Paging/PermissionTable.swift"),
        Exhibit(
          .rightsOfLeafOnly, "rights-of-leaf-only",
          "Upper entries withhold no rights.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .accessedBitInLeafOnly, "accessed-bit-in-leaf-only",
          "Only the leaf is marked accessed.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .dirtyBitNotSet, "dirty-bit-not-set",
          "A write does not mark the leaf dirty.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .absentEntriesChecked, "absent-entries-checked",
          "Reserved bits are looked at in entries that are not present.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .fetchAlwaysReported, "fetch-always-reported",
          "An error code says that a fetch was one without NXE and SMEP.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .canonicalUnchecked, "canonical-unchecked",
          "Addresses that are not canonical are walked.",
          in: "X86Paging/WalkRules.swift"),
        Exhibit(
          .highFrameBitsLost, "high-frame-bits-lost",
          "A 4 MiB page has no address bits above 31.",
          in: "X86Paging/EntryFormat.swift"),
        Exhibit(
          .pdpteReadOnEachWalk, "pdpte-read-on-each-walk",
          "A walk reads the PDPTE from memory and not from its register.",
          in: "X86Paging/WalkRules+Walking.swift"),
        Exhibit(
          .pdptesReadFromPageStart, "pdptes-read-from-page-start",
          "PDPTE registers are loaded from where the page of CR3 starts.",
          in: "X86Paging/PDPTERegisters.swift"),
        Exhibit(
          .globalToggleKeepsGlobals, "global-toggle-keeps-globals",
          "A change of CR4.PGE flushes nothing.",
          in: "X86Paging/ControlRegisters+Writing.swift"),
        Exhibit(
          .cr3LoadFlushesNothing, "cr3-load-flushes-nothing",
          "MOV to CR3 flushes nothing.",
          in: "X86Paging/ControlRegisters+Writing.swift"),
        Exhibit(
          .pagingEndFlushesNothing, "paging-end-flushes-nothing",
          "Translations outlive a time without paging.",
          in: "X86Paging/ControlRegisters+Writing.swift"),
      ]
    }
  }
#endif
