import DirectMMU
import GuestMemory
import HardwareModel
import PageTables
public import PagingUnits
import ShadowMMU
import SubpageProtection
import X86Paging

/// The configuration in each room's own words.
extension MachineConfiguration {
  var encoding: EntryEncoding {
    if mmu == .shadow { return .shadow(physicalBits: physicalBits, encryptionBit: encryptionBit) }
    switch vendor {
    case .intel:
      return .ept(
        accessedDirty: accessedDirty == .present ? .present : .absent,
        executeOnly: executeOnly == .present ? .present : .absent, physicalBits: physicalBits)
    case .amd: return .npt(physicalBits: physicalBits, encryptionBit: encryptionBit)
    }
  }

  /// The frame behind the last that the guest can address.
  ///
  /// Bounded by the host's MAXPHYADDR and by what a root of this level covers.
  public var frameLimit: GuestFrame {
    // Shadow tables hold guest-physical addresses nowhere (KVM: `kvm_mmu_max_gfn`).
    if mmu == .shadow { return GuestFrame(1 << 40) }
    let covered = 12 + 9 * Int(rootLevel.depth)
    return GuestFrame(1 << UInt64(min(physicalBits, covered) - 12))
  }

  var directConfiguration: DirectMMU.Configuration {
    DirectMMU.Configuration(
      rootLevel: rootLevel, largestPage: largestPage,
      prefetch: prefetch == .present ? .alignedGroup : .none, frameLimit: frameLimit)
  }

  var subpageConfiguration: SubpageProtection.Configuration {
    var made = SubpageProtection.Configuration()
    let isWalked = vendor == .intel && mmu == .direct
    made.support = isWalked && subpages == .present ? .present : .absent
    made.quirks = subpageQuirks
    return made
  }

  /// The bits of CR4 that the guest's processor lacks: with shadow paging protection keys too,
  /// which no shadow entry holds.
  var lackingCR4: UInt64 {
    mmu == .shadow ? reservedCR4 | CR4Layout.protectionKeys.mask : reservedCR4
  }

  var shadowConfiguration: ShadowMMU.Configuration {
    ShadowMMU.Configuration(
      largestPage: largestPage, specialRoots: specialRoots == .tables ? .tables : .localPages,
      prefetch: prefetch == .present ? .alignedGroup : .none, frameLimit: frameLimit,
      pageLimit: shadowPageLimit ?? 64)
  }

  /// The most shadow pages of a guest of `pages` pages: a fiftieth (KVM:
  /// `kvm_mmu_calculate_default_mmu_pages`), as far as there are tables beside those that
  /// processors set aside.
  func shadowPageLimit(forPages pages: UInt64) -> Int {
    let aside = processors * (TableCache.capacity + 3)
    return max(64, min(Int(pages / 50), tableLimit - aside))
  }

  var slotOptions: GuestMemory.Options {
    var options = GuestMemory.Options()
    options.maximumFrame = GuestFrame(frameLimit.number - 1)
    return options
  }

  /// How many levels KVM gives a direct root where the host has at most `most`: under EPT four are
  /// enough for 48 bits of the guest's, NPT is as deep as the host's own tables (KVM:
  /// `kvm_mmu_get_tdp_level`).
  public func fittingRootLevel(atMost most: Level) -> Level {
    vendor == .intel && guestPhysicalBits <= 48 ? min(most, .level4) : most
  }

  var hardwareFeatures: ProcessorFeatures {
    var features = ProcessorFeatures()
    features.vendor = vendor == .intel ? .intel : .amd
    features.physicalBits = UInt64(physicalBits)
    features.guestPhysicalBits = UInt64(guestPhysicalBits)
    features.hasGigabytePages = gigabytePages == .present
    features.hasExecuteOnly = executeOnly == .present
    features.hasSubpagePermissions = subpageConfiguration.support == .present
    if mmu == .shadow {
      // The tables that the hardware reads in the guest's place are the hypervisor's own.
      features.guestPhysicalBits = UInt64(physicalBits)
      features.hasGigabytePages = true
    }
    features.translationSets = translationSets
    features.keepsWalks = keepsWalks == .present
    return features
  }

  /// The guest's processor as far as the format of its tables is concerned.
  var guestPaging: PagingFeatures {
    var features = PagingFeatures(physicalBits: UInt64(guestPhysicalBits))
    features.vendor = vendor == .intel ? .intel : .amd
    features.hasGigabytePages = gigabytePages == .present
    return features
  }
}
