#if MUTATIONS
  extension Exhibit {
    /// Shadow paging: roles, rights, and the way down.
    static var shadowWalks: [Exhibit] {
      [
        Exhibit(
          .inheritedAccessFromFullWalk, "inherited-access-from-full-walk", catalogued: "PR-01",
          "A table is shadowed with the rights of the whole walk, not of the levels above it.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .directSPKeyWithoutAccess, "direct-sp-key-without-access", catalogued: "PR-02",
          "The parts of a large page are shared by mappings of any rights.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .directSPKeyWithoutNX, "direct-sp-key-without-nx", catalogued: "PR-03",
          "The parts of a large page are shared by mappings that may be executed and not.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .directSPAccessFromParentOnly, "direct-sp-access-from-parent-only", catalogued: "PR-04",
          "The parts of a large page have the rights of the table above, not of its own entry.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .writeUpgradeCorruptsRODirectSP, "write-upgrade-corrupts-ro-direct-sp",
          catalogued: "PR-05",
          "The parts of a large page stay linked when the rights to it change.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .nowpWriteIntoRODirectSP, "nowp-write-into-ro-direct-sp", catalogued: "PR-06",
          "A write without CR0.WP goes into the parts that a read-only mapping shares.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .smepNoWPMissingNX, "smep-nowp-missing-nx", catalogued: "PR-07",
          "A user page that a supervisor may write to without CR0.WP stays executable.",
          in: "ShadowMMU/ShadowMMU+Fault.swift"),
        Exhibit(
          .smapNoWPThroughLeaf, "smap-nowp-through-leaf",
          "A user page that a supervisor wrote to without CR0.WP is a supervisor's under SMAP.",
          in: "ShadowMMU/ShadowMMU+Fault.swift"),
        Exhibit(
          .shadowNXFlaggedReserved, "shadow-nx-flagged-reserved", catalogued: "PR-08",
          "The hardware runs without EFER.NXE when the guest does.",
          in: "VirtualMachine/VirtualMachine+Shadow.swift"),
        Exhibit(
          .eferNXENotInRole, "efer-nxe-not-in-role", catalogued: "PR-09",
          "Shadows made with EFER.NXE serve a guest without it.",
          in: "ShadowMMU/ProcessorRole.swift"),
        Exhibit(
          .smapVariantNotInRole, "smap-variant-not-in-role", catalogued: "PR-10",
          "Shadows made without CR4.SMAP serve a guest with it.",
          in: "ShadowMMU/ProcessorRole.swift"),
        Exhibit(
          .smepVariantNotInRole, "smep-variant-not-in-role",
          "Shadows made without CR4.SMEP serve a guest with it.",
          in: "ShadowMMU/ProcessorRole.swift"),
        Exhibit(
          .wpNotInRole, "wp-not-in-role",
          "Shadows made without CR0.WP serve a guest with it.",
          in: "ShadowMMU/ProcessorRole.swift"),
        Exhibit(
          .pageSizeBitNotInRole, "page-size-bit-not-in-role",
          "Shadows made with CR4.PSE serve a guest without it.",
          in: "ShadowMMU/ProcessorRole.swift"),
        Exhibit(
          .smmNotInRole, "smm-not-in-role",
          "System management mode is shadowed by the memslots of normal mode.",
          in: "ShadowMMU/ProcessorRole.swift"),
        Exhibit(
          .cr4SMAPToggleNoReset, "cr4-smap-pke-toggle-no-reset", catalogued: "PR-12",
          "A toggled CR4.SMAP leaves the rules of walks as they were.",
          in: "ShadowMMU/ProcessorRole.swift"),
        Exhibit(
          .smepSMAPLiveWhileUnpaged, "smep-smap-live-while-guest-unpaged", catalogued: "PR-22",
          "SMEP and SMAP hold for a guest whose paging is off.",
          in: "VirtualMachine/VirtualMachine+Shadow.swift"),
        Exhibit(
          .guestWPReachesHardware, "guest-wp-reaches-hardware",
          "The hardware runs without CR0.WP when the guest does.",
          in: "VirtualMachine/VirtualMachine+Shadow.swift"),
        Exhibit(
          .userKeepsEmulatedWrite, "user-keeps-emulated-write",
          "A page that a supervisor writes to without CR0.WP is writable to the user.",
          in: "ShadowMMU/ShadowMMU+Fault.swift"),
        Exhibit(
          .cleanPageShadowedWritable, "clean-page-shadowed-writable",
          "A page is writable at once although the guest has not marked it dirty.",
          in: "ShadowMMU/ShadowMMU+Fault.swift"),
        Exhibit(
          .supervisorLeafOpenToUser, "supervisor-leaf-open-to-user",
          "Every leaf is a user page.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .splitSPBaseGFNWrong, "split-sp-base-gfn-wrong", catalogued: "RM-07",
          "Both halves of a 4 MiB page begin at its first frame.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .childSPGFNNotRechecked, "child-sp-gfn-not-rechecked", catalogued: "RM-01",
          "A table that is linked is taken for that of the frame that the walk found.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .childSPRoleNotRechecked, "child-sp-role-not-rechecked", catalogued: "RM-02",
          "A table that is linked is taken for one of the role that the walk asks for.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .propagateWithStaleGuestRead, "propagate-with-stale-guest-read", catalogued: "SY-16",
          "The guest's entry is not read again under the lock.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .prefetchIgnoresAccessedBit, "prefetch-ignores-accessed-bit",
          "A guess maps what the guest has not marked as used.",
          in: "ShadowMMU/ShadowMMU+Leaf.swift"),
        Exhibit(
          .prefetchIgnoresDirtyBit, "prefetch-ignores-dirty-bit",
          "A guess maps writable what the guest has not marked dirty.",
          in: "ShadowMMU/ShadowMMU+Leaf.swift"),
        Exhibit(
          .prefetchIgnoresUpperRights, "prefetch-ignores-upper-rights",
          "A guess takes the rights of the entry alone.",
          in: "ShadowMMU/ShadowMMU+Leaf.swift"),
      ]
    }
  }
#endif
