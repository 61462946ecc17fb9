#if MUTATIONS
  import Synchronization
#endif

/// A bug that can be put back into the machine, to see that the checks notice.
///
/// Only in a build with the trait `Mutations` can one be active, one at a time; without it no place
/// asks at run time. What each one does is said by its `exhibit`. The place asks, and does wrong if
/// it is meant:
///
///     if Mutation.canonicalUnchecked.isActive { return true }
public enum Mutation: UInt16, Hashable, Sendable, CaseIterable {
  // The guest walk: entries, permissions, control registers.
  case walkPastLevel1 = 1
  case walkerArraysFourLevels
  case psBitIgnoredInUpperLevels
  case superpageLowBitsUnchecked
  case gpteADWrittenToWrongFrame
  case pkeyLostOnSuperpage
  case stalePKRUMask
  case cr0WPGuestOwnedStale
  case errorCodeHighBitsIndexTable
  case supervisorPagesOpenToUser
  case supervisorFetchesUserPages
  case supervisorReachesUserPages
  case implicitAccessExempt
  case rightsOfLeafOnly
  case accessedBitInLeafOnly
  case dirtyBitNotSet
  case absentEntriesChecked
  case fetchAlwaysReported
  case canonicalUnchecked
  case highFrameBitsLost
  case pdpteReadOnEachWalk
  case pdptesReadFromPageStart
  case globalToggleKeepsGlobals
  case cr3LoadFlushesNothing
  case pagingEndFlushesNothing

  // The host process and its pages.
  case copyOnWriteNotBroken
  case copyOnWriteCopiesNothing
  case zeroPageWritable
  case followPFNAssumedWritable
  case hugePageOffsetLost
  case hostProtectionIgnored
  case hostZapWithoutNotifier
  case collapseLeavesHoles
  case migrationForgetsContent
  case protectWithoutNotifier
  case pagesFreedBeforeNotifier
  case mergeLeavesWritable
  case poisonWithoutNotifier

  // Memslots, their generations, and the invalidation sequence.
  case slotReachesTooFar
  case slotHintNotChecked
  case slotSearchOffEnd
  case hostRangesOverlapUnseen
  case overlapUnseen
  case generationNotAdvanced
  case inactiveSetLeftBehind
  case misalignedHugePagesAllowed
  case slotTailNotRefused
  case lpageArrayOffByOne
  case sequenceNotAdvanced
  case invalidationRangeReplaced
  case zapRangeDoesNotBlockFaults
  case invalidateSeqTruncated
  case notifiersNotHeld

  // The tables of ours and the door to their entries.
  case lostExchangeTakenAsSuccess
  case nonAtomicVolatileSPTEUpdate
  case flushOnlyFor4KChanges
  case dirtyStateLostOnZap
  case accessedLostWithEPT
  case lpageStatsCountMMIO
  case removedTableForgotten
  case flushFlagOverwritten
  case splitPartsOutOfPlace
  case writeRightOnReadOnlyPage
  case accTrackRestoreUpgradesWrite
  case mmioGFNLostL1TFBits
  case mmioMaskOverlapsGeneration
  case mmioMarkerWithoutReservedBits

  // Direct faults, and what is taken away again.
  case hostLevelNotClamped
  case wrongAddressSpaceForHostSize
  case roLargeSPTENotDropped
  case hugeFrameNotAligned
  case lostTableLeaked
  case prefetchOverSlotEdge
  case prefetchDuringInvalidation
  case prefetchIntoReadOnlySlot
  case splitFailureMeansRetry
  case invalidSlotTreatedAsMMIO
  case mmioGenerationPublishedTooEarly
  case roMemoryWriteTakenForTableWrite
  case readOnlySlotMappedWritable
  case momentTakenAfterLookUp
  case retryCheckSkipped
  case obsoleteRootNotChecked
  case mmioGenerationUnchecked
  case mmioCacheIgnoresSMMSlots
  case rootsSharedBetweenSpaces
  case zapAllBoundSkipsTopLevel
  case rootIterationFiltersAddressSpace
  case notifierSkipsInvalidRoots
  case ageingStopsAtFirstLeaf
  case zapOneFrameShort
  case zapStopsAtTable

  // The façade: notifiers, flushes, roots, layouts.
  case hapUnmapWithoutFlush
  case notifierUnlockBeforeFlush
  case notifierMissesSecondSlot
  case invalidationNeverEnds
  case invpcidFlushSkippedWithTDP
  case smmFlagClearedMMUNotReset
  case setEventsTogglesSMMWithoutReset
  case prefaultIgnoresObsoleteRequest
  case flushRequestIgnored
  case newRootNotFlushed
  case rootReferenceLeaked
  case flushMissesLastProcessor
  case deletedSlotNotZapped
  case movedSlotNotZapped
  case readersNotAwaited
  case memslotsReadOutsideGuard
  case prefaultDeadlocksSlotDelete
  case accessedDirtyNotAskedFor

  // Sub-page protection.
  case subpagesOfReadOnlyHostPage
  case armedLeafKeepsWrite
  case armedLeafNeverDirty
  case subpageVectorInOddBits
  case prefetchForgetsSubpages
  case hugePageKeptOverSubpages
  case hugePagesNotRefused
  case hugePagesStayRefused
  case leavesIgnoreSubpages
  case subpageRootNotReferenced
  case subpageRootsSharedBetweenSpaces
  case subpageRootOfThePast
  case subpageRootsNotLoaded
  case subpageLimitOffByOne
  case subpageTableNotSetAside
  case missFillsOnePage
  case subpageChangeNotFlushed
  case subpageMapForgottenOnMigration
  case emulatorIgnoresSubpages
  case emulatorJudgesFirstByte
  case guestMarksIgnoreSubpages
  case refusalJudgesFirstByte

  // Shadow paging: roles, rights, and the way down.
  case inheritedAccessFromFullWalk
  case directSPKeyWithoutAccess
  case directSPKeyWithoutNX
  case directSPAccessFromParentOnly
  case writeUpgradeCorruptsRODirectSP
  case nowpWriteIntoRODirectSP
  case smepNoWPMissingNX
  case smapNoWPThroughLeaf
  case shadowNXFlaggedReserved
  case eferNXENotInRole
  case smapVariantNotInRole
  case smepVariantNotInRole
  case wpNotInRole
  case pageSizeBitNotInRole
  case smmNotInRole
  case cr4SMAPToggleNoReset
  case smepSMAPLiveWhileUnpaged
  case guestWPReachesHardware
  case userKeepsEmulatedWrite
  case cleanPageShadowedWritable
  case supervisorLeafOpenToUser
  case splitSPBaseGFNWrong
  case childSPGFNNotRechecked
  case childSPRoleNotRechecked
  case propagateWithStaleGuestRead
  case prefetchIgnoresAccessedBit
  case prefetchIgnoresDirtyBit
  case prefetchIgnoresUpperRights

  // Shadow paging: synchronization and roots.
  case linkUnsyncedChild
  case unsyncPageUsedAsItIs
  case promotedWhileUnsync
  case deferredFlushForgotten
  case syncMakesSiblingWritable
  case writeTrackOneAddressSpace
  case lostUnsyncMark
  case unsyncMarkStopsAtLevel2
  case unsyncMarkLostOnLink
  case unsyncMarkLeftOnUnlink
  case onlyFirstShadowGoesUnsync
  case prefetchTakesTablesOutOfSync
  case syncWithoutProtection
  case syncProtectsWithoutFlush
  case syncKeepsMoreRights
  case syncKeepsOldFrame
  case syncKeepsDevice
  case syncIgnoresUpperRights
  case dirtyBitLostThroughSync
  case accessedBitLostThroughSync
  case quadrantIgnoredOnSync
  case invlpgDoesNotSync
  case invlpgMissesKeptRoots
  case invlpgLocalOnly
  case invlpgByAllBits
  case invpcidMissesKeptRoots
  case flushLeavesRootUnsynced
  case flushMissesKeptRoots
  case flushOfZeroPCIDOnly
  case cr3LoadDoesNotSync
  case loadedRootNotSynced
  case rootStashedUnderWrongCR3
  case keptRootOfAnyPCID
  case onlyFirstPrevRootChecked
  case cr3NotValidatedOnSet
  case dummyRootNeverLeft
  case stalePDPTEs
  case onlyFirstPDPTESynced
  case wrongQuadrant
  case specialRootKeepsPages
  case localRootFreedInPart
  case specialEntriesMissEncryption
  case localEntriesMissEncryption
  case leavesMissEncryption
  case deviceLeavesEncrypted
  case deviceEntriesEncrypted
  case syncEncryptsDevice
  case rootPointerMissesEncryption
  case paeRootLeftEncrypted
  case paeRootFreedDecrypted
  case rootDecryptedUnderLongMode
  case invalidRootStaysInUse
  case invalidRootLeaked
  case loadedRootNotFlushed

  // Shadow paging: pages, their maps, stores and zaps.
  case levelNotInKey
  case quadrantNotInKey
  case quadrantOfPageTablesLost
  case largePageOverTable
  case largeLeafLeftWritable
  case largeLeafSplitWithoutFlush
  case largeLeafNotRecorded
  case mmioSPTEOverPresentSPTE
  case leafReplacedWithoutFlush
  case shadowedTableLeftWritable
  case writeProtectionWithoutFlush
  case tableNotTracked
  case trackingNeverEnds
  case writeProtectionLostOnZap
  case recordedRightsStale
  case secondParentNotRecorded
  case missingParentUnlink
  case hostTakesSmallPagesOnly
  case hostTakesOneLeafOfEach
  case shadowLeavesNeverAge
  case shadowDeviceGenerationUnchecked
  case shadowLeafGoesWithoutFlush
  case zapCommittedWithoutFlush
  case storeReachesOneShadow
  case storeReachesFirstQuadrant
  case secondHalfOfEntryKept
  case halfEntryStoreIgnored
  case halfEntryMarkNotTold
  case misalignedStoreCoversOneEntry
  case floodLimitOffByOne
  case storeWithoutFlush
  case storeByAddressNotTold
  case staleCheckBeforeReclaim
  case slotDeleteLeavesTableShadows
  case generationStays

  /// Whether this bug is in the machine now; in a build without the trait, none ever is.
  ///
  /// `@inlinable`, so that without the trait it is `false` where it is asked, and what it guards is
  /// not even compiled.
  @inlinable @inline(__always) public var isActive: Bool {
    #if MUTATIONS
      Self.activeNumber == rawValue
    #else
      false
    #endif
  }
}

#if MUTATIONS
  extension Mutation {
    // One word that every place reads; it is set before a machine is made.
    private static let current = Atomic<UInt16>(0)

    /// The number of the bug that is in the machine now; 0 for none.
    @usableFromInline static var activeNumber: UInt16 { current.load(ordering: .relaxed) }

    /// The bug that is in the machine now; none at first.
    public static var active: Mutation? {
      get { Mutation(rawValue: activeNumber) }
      set { current.store(newValue?.rawValue ?? 0, ordering: .relaxed) }
    }

    /// The bug of this name, or of this identifier of the catalogue.
    public static func named(_ name: String) -> Mutation? {
      allCases.first { $0.exhibit.name == name || $0.exhibit.identifier == name }
    }
  }
#endif
